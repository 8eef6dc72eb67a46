# The verbs beside build, run and test. Sourced by ./dev.
cpp_files() { find . \( -name 'build*' -o -name node_modules -o -name .git \) -prune -o \( -name '*.cpp' -o -name '*.hpp' \) -print | sort; }

fmt() {
  need fmt
  say "formatting $(cpp_files | wc -l) C++ files"
  cpp_files | xargs -r clang-format-14 -i
}

tidy_file() {  # tidy_file FILE, before the time DEADLINE
  local file=${1#./} stamp findings
  grep -qF "\"file\": \"$PWD/$file\"" "$build_folder/compile_commands.json" || return 0
  stamp=$build_folder/tidy/$(cat .clang-tidy "$file" | sha256sum | cut -c1-32)
  [ ! -e "$stamp" ] || return 0
  if [ "$(date +%s)" -gt "$DEADLINE" ]; then echo "$file" >>"$build_folder/tidy/left"; return 0; fi
  if findings=$(clang-tidy-14 -p "$build_folder" --quiet --extra-arg=-Wno-unknown-warning-option "$file" 2>/dev/null); then
    touch "$stamp"
  else
    printf '%s\n' "$findings"
    echo "$file" >>"$build_folder/tidy/bad"
  fi
}

# clang-tidy takes ten seconds a file, so a file that passed once with this text is not looked at again, and without --all
# it stops looking after TIDY_SECONDS (600); what is left over is said, and is done the next time.
tidy() {
  need tidy
  configure release "$build_folder"
  run_tests "$build_folder" -R '^(tidy|include_matrix)$' || die "the style tests name what to mend above"
  say "clang-format"
  cpp_files | xargs -r clang-format-14 --dry-run -Werror 2>&1 | grep -m 20 'error:' && die "the lines above are not formatted: ./dev fmt"
  say "clang-tidy"
  ninja -C "$build_folder" $(ninja -C "$build_folder" -t targets all | sed -n 's/^\(messages\/[a-z_]*\.capnp\.h\):.*/\1/p' | sort -u) >/dev/null ||
    die "the schemas do not compile: ./dev build says why"
  mkdir -p "$build_folder/tidy"
  local seconds=${TIDY_SECONDS:-600}
  [ "${1:-}" != --all ] || seconds=100000
  rm -f "$build_folder/tidy/left" "$build_folder/tidy/bad"
  export -f tidy_file
  cpp_files | grep '\.cpp$' | DEADLINE=$(($(date +%s) + seconds)) xargs -r -P "$(build_jobs)" -I '{}' bash -c 'tidy_file {}'
  [ ! -e "$build_folder/tidy/left" ] || say "$(wc -l <"$build_folder/tidy/left") files are left for the next ./dev tidy (or ./dev tidy --all)"
  [ ! -e "$build_folder/tidy/bad" ] || die "$(wc -l <"$build_folder/tidy/bad") files have findings, shown above: mend them, or say why not with NOLINT(check)"
}

bench() {
  if [ $# = 0 ]; then
    say "benchmarks: $(find . -path ./build -prune -o -name '*_bench.cpp' -print | sed 's|.*/||; s|\.cpp||' | sort | xargs) \
$(find bench -maxdepth 1 -name '*.py' -o -maxdepth 1 -name '*.sh' | sed 's|.*/||; s|\.[a-z]*$||' | sort | xargs)"
    return
  fi
  local name=$1
  shift
  if [ -e "bench/$name.py" ]; then
    local programs=(collm)
    [ -z "$(find . -path "./$build_folder" -prune -o -name "${name}_bench.cpp" -print)" ] || programs+=("${name}_bench")
    [ "$name" != faults ] || programs+=(poison)
    build release "$build_folder" "${programs[@]}"
    exec python3 "bench/$name.py" "$@"
  fi
  find . -path ./build -prune -o -name "${name%_bench}_bench.cpp" -print | grep -q . ||
    die "there is no benchmark $name: ./dev bench lists them"
  build release "$build_folder" "${name%_bench}_bench"
  say "$(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2), $(nproc) cores, commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
  exec "$build_folder/bin/${name%_bench}_bench" "$@"
}

interop() {
  need interop
  venv interop tests/interop/requirements.txt 75
  case " ${*:-training} " in *" training "*) venv oracle tests/golden/requirements.txt 3500 ;; esac
  build release "$build_folder" collm
  exec "$COLLM_CACHE/interop/bin/python" tests/interop/run.py "$@"
}

golden() {
  need golden
  fetch_model gemma3-270m
  venv oracle tests/golden/requirements.txt 3500
  build release "$build_folder" models_test gemma_golden_test
  { "$build_folder/bin/models_test" --gtest_filter='*gemma3*' && "$build_folder/bin/gemma_golden_test"; } ||
    die "Gemma 3 does not answer as transformers does: the first failure above says where"
  exec "$COLLM_CACHE/oracle/bin/python" tests/golden/golden.py "$@"
}
