# What ./dev says, asks and refuses. Sourced by ./dev.
yes=${yes:-}

say() { printf '\n==> %s\n' "$*"; }

# Every failure is one sentence that says what to do.
die() {
  printf '\n./dev: %s\n' "$*" >&2
  exit 1
}

megabytes() { echo "$((($1 + 500000) / 1000000)) MB"; }

interactive() { [ -t 0 ] && [ "${CI:-}" != true ] && [ -z "$yes" ]; }

confirm() {
  interactive || return 0
  local answer
  read -r -p "$1 [Y/n] " answer
  case $answer in '' | [yY]*) ;; *) die "stopped at your word; nothing was changed" ;; esac
}

# need_disk PLACE MEGABYTES WHAT
need_disk() {
  local place=$1 free
  while [ ! -e "$place" ]; do place=$(dirname "$place"); done
  free=$(df -Pm "$place" | awk 'NR == 2 {print $4}')
  [ "$free" -ge "$2" ] ||
    die "no disk space for $3: it takes $2 MB and $place has $free MB free; free some or set COLLM_CACHE to a larger disk"
}
