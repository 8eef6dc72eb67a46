# Debian packages: what each verb needs, and one installation of all that is missing. Sourced by ./dev.
packages_build="g++ cmake ninja-build ccache mold pkg-config python3 python3-pip ca-certificates openssl
  libcaf-dev capnproto libcapnp-dev libboost-dev libboost-system-dev libssl-dev libspdlog-dev libfmt-dev libyaml-cpp-dev
  libcli11-dev nlohmann-json3-dev prometheus-cpp-dev libsqlite3-dev libpcre2-dev libgtest-dev libgmock-dev"
packages_test="chromium libfaketime nftables iproute2"
packages_interop="python3-venv"
packages_golden="python3-venv"
packages_fmt="clang-format"
packages_tidy="clang-tidy clang-format"

missing_packages() {
  # shellcheck disable=SC2086
  { dpkg-query -W -f '${Package} ${db:Status-Status}\n' $1 2>/dev/null || true; } |
    awk -v wanted="$1" '$2 == "installed" {have[$1] = 1}
      END {count = split(wanted, names); for (i = 1; i <= count; i++) if (!(names[i] in have)) printf "%s ", names[i]}'
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

check_may_install() {
  [ "$(id -u)" = 0 ] && return
  command -v sudo >/dev/null ||
    die "no permission to install Debian packages: as root, run 'apt-get install --no-install-recommends $*', then run this again"
  [ -t 0 ] || sudo -n true 2>/dev/null ||
    die "sudo wants a password and there is no terminal: run this on a terminal, or run 'apt-get install $*' as root first"
}

check_distribution() {  # check_distribution [OS_RELEASE]
  local release=${1:-/etc/os-release} ID='' VERSION_ID='' PRETTY_NAME='an unknown system'
  # shellcheck disable=SC1091
  [ ! -r "$release" ] || . "$release"
  [ "$ID" = debian ] && [ "$VERSION_ID" = 12 ] ||
    die "this is $PRETTY_NAME, and CoLLM is built on Debian 12 only (CAF 0.17, Cap'n Proto 0.9): use Debian 12, or a container of it"
}

apt_get() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -q "$@"
}

# Bytes to download, or nothing when the package index does not know them all.
download_bytes() {
  apt-get install --print-uris -qq --no-install-recommends "$@" 2>/dev/null | awk '{sum += $3} END {print sum + 0}'
}

refresh_index() {
  say "fetching Debian's package index (about 10 MB)"
  apt_get update -qq -o APT::Update::Error-Mode=any ||
    die "no network: Debian's package index could not be fetched; connect, or mend /etc/apt/sources.list.d, and run this again"
}

install_packages() {  # install_packages VERB...
  local wanted=$packages_build verb names missing bytes
  for verb in "$@"; do names=packages_$verb; [ "$verb" = build ] || wanted+=" ${!names:-}"; done
  missing=$(missing_packages "$wanted")
  [ -n "$missing" ] || return 0
  check_distribution
  # shellcheck disable=SC2086
  set -- $missing
  check_may_install "$@"
  bytes=$(download_bytes "$@") || { refresh_index; bytes=$(download_bytes "$@") ||
    die "apt-get cannot install $*: its own words are shown by 'apt-get install -s $*'"; }
  say "Debian packages missing: $# ($*); with what they need: $(megabytes "$bytes") to download"
  need_disk /var/cache/apt $((bytes / 1000000 * 2 + 200)) "Debian's packages"
  need_disk /usr $((bytes / 1000000 * 5 + 200)) "Debian's packages"
  confirm "Install them with apt-get?"
  apt_get install -y --no-install-recommends "$@" || { refresh_index; apt_get install -y --no-install-recommends "$@"; } ||
    die "apt-get failed for the reason above: mend it (often 'apt-get --fix-broken install'), then run this again"
}
