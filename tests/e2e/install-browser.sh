#!/usr/bin/env bash
# Make sure that the browser tests find a Chromium: the system's, else Debian's package, else Playwright's own build.
set -euo pipefail
run=$1  # how to run a command in the project's environment

for browser in chromium chromium-browser google-chrome; do
  if command -v "$browser" >/dev/null; then exit 0; fi
done
if $run python -c 'import pathlib, sys; from playwright.sync_api import sync_playwright as p
with p() as play: sys.exit(not pathlib.Path(play.chromium.executable_path).exists())' 2>/dev/null; then exit 0; fi

echo "no Chromium here: installing one"
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null && exit 0
fi
$run playwright install chromium && exit 0
echo "error: the browser tests need Chromium and it could not be installed: install it (Debian: apt-get install chromium;" \
  "macOS: brew install --cask chromium) and try again" >&2
exit 1
