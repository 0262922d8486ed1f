#!/bin/sh
# bake_model.sh MODEL FOLDER [PRECISION]: put the model artifact that MODEL names into FOLDER, while an image is built.
#
# MODEL is a folder with an artifact, or NAME:WEIGHTS of open_clip, where WEIGHTS is a tag or the path of a checkpoint.
# The latter is exported with torch, which is installed for it in a stage of the build that isn't in the image.
# PRECISION is fp32, fp16 or int8; without it, a folder's artifact is taken as it is, and an export is fp32.
set -eu
model=$1 folder=$2 precision=${3:-}
export UV_PROJECT_ENVIRONMENT="${UV_PROJECT_ENVIRONMENT:-/torch}"

if [ -f "$model/model.json" ]; then
  if [ "$precision" ] && ! grep -q "\"precision\": *\"$precision\"" "$model/model.json"; then
    echo "error: MODEL=$model is an artifact of another precision than PRECISION=$precision: export it again, with" \
      "'imagesearch export-model --precision $precision'" >&2
    exit 1
  fi
  cp -R "$model" "$folder"
else
  case $model in
    hf-hub:?*) name=$model weights= ;;
    ?*:?*) name=${model%%:*} weights=${model#*:} ;;
    *)
      echo "error: MODEL=$model is no folder with a model artifact (what 'imagesearch export-model' makes), and no" \
        "model and weights of open_clip such as ViT-B-32-quickgelu:openai" >&2
      exit 1
      ;;
  esac
  uv sync --quiet --no-cache --frozen --package imagesearch-batch --extra torch --extra languages --no-dev \
    --no-install-workspace --python python --no-python-downloads
  # Weights stay with the artifact, for a batch job that encodes with torch: those of a hub in the hub's own cache.
  HF_HOME=$folder/hub "$UV_PROJECT_ENVIRONMENT/bin/python" -c 'from batch.cli import main; main()' \
    export-model "$folder" --model-name "$name" --pretrained "$weights" --precision "${precision:-fp32}"
  if [ -e "$weights" ]; then
    cp -R "$weights" "$folder"
  fi
fi
if [ ! -e "$folder/hub" ]; then
  ln -s /tmp "$folder/hub" # the image is read-only where it runs, and torch may have to fetch what isn't here
fi
chmod -R a+rX "$folder"
