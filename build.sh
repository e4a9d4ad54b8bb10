#!/usr/bin/env bash
# Builds, runs, tests and packs Kinetoscope. Installs what is missing; quick the second time.
#
#   ./build.sh run                       builds the page, serves it and prints its address
#   ./build.sh run "PROMPT" OUT.webm     makes a clip in headless Chromium
#   ./build.sh test                      runs every check and test
#   ./build.sh matrices                  runs the tests of matrix units alone
#   ./build.sh pack                      builds the npm package into out/
#   ./build.sh bench [OPTION...]         times Kinetoscope and ONNX Runtime Web side by side in headless Chromium:
#                                        --graphs FOLDER of the transformer (models/recipe/onnx_export.py), --only NAME,
#                                        --samples N and --seconds N a case, --json FILE, --markdown FILE;
#                                        with --suite NAME Kinetoscope alone (quick, gpu, peak, gemm, ...)
#
# CHROME names another Chromium than the system's. KINETOSCOPE_ADAPTER= (empty) lets it use the machine's GPU; by
# default it computes on its own software adapter, which every machine has.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }
fail() {
  printf 'build.sh: %s\n' "$*" >&2
  exit 1
}

# --- what has to be there -----------------------------------------------------------------------------------------

need_command() { command -v "$1" >/dev/null || fail "$1 is missing: $2"; }

need_rust() {
  need_command cargo "install Rust 1.95 or newer, https://rustup.rs"
}

need_node() {
  need_command node "install Node 20.19 or newer, https://nodejs.org"
  need_command npm "it comes with Node, or as Debian's package npm"
  node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' ||
    fail "Node $(node --version) is too old: 20.19 or newer is needed"
}

# Installs Debian packages, as root or with sudo; elsewhere says what is needed.
install_packages() {
  local as_root=()
  if ! command -v apt-get >/dev/null; then
    fail "please install what Debian calls: $*"
  fi
  if [ "$(id -u)" -ne 0 ]; then
    sudo -n true 2>/dev/null || fail "no rights to install packages; please run: apt-get install $*"
    as_root=(sudo -n)
  fi
  say "installing $*"
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

need_chromium() {
  local name
  if [ -n "${CHROME:-}" ]; then
    [ -x "$CHROME" ] || fail "CHROME is $CHROME, which is not a program"
    return
  fi
  for name in chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null; then
      CHROME=$(command -v "$name")
      export CHROME
      return
    fi
  done
  install_packages chromium
  CHROME=$(command -v chromium)
  export CHROME
}

# What drives Chromium for the crate's own browser tests; its version is that of the Chromium beside it.
need_chromedriver() {
  command -v chromedriver >/dev/null || install_packages chromium-driver
}

# A Vulkan adapter for the native tests: a machine without a GPU gets Mesa's software one.
need_vulkan() {
  local missing=() ldconfig
  ldconfig=$(command -v ldconfig || echo /sbin/ldconfig)
  "$ldconfig" -p | grep -q 'libvulkan\.so\.1' || missing+=(libvulkan1)
  compgen -G '/usr/share/vulkan/icd.d/*.json' >/dev/null || compgen -G '/etc/vulkan/icd.d/*.json' >/dev/null ||
    missing+=(mesa-vulkan-drivers)
  if [ ${#missing[@]} -gt 0 ]; then
    install_packages "${missing[@]}"
  fi
  # Mesa and Chromium warn, and some versions fail, without it.
  if [ -z "${XDG_RUNTIME_DIR:-}" ]; then
    XDG_RUNTIME_DIR="${TMPDIR:-/tmp}/runtime-$(id -u)"
    export XDG_RUNTIME_DIR
    mkdir -p "$XDG_RUNTIME_DIR"
    chmod 700 "$XDG_RUNTIME_DIR"
  fi
}

# A Vulkan adapter with cooperative matrices, which Mesa's software one has from 25.2 on: where there is apt, that of Debian's
# backports, unpacked into .tools/mesa with the libraries that it wants, by whose loader tests are run. Nothing of the system is
# touched. Elsewhere it is the system's adapter that has to have them.
need_matrix_units() {
  command -v apt-get >/dev/null || return 0
  local into=$PWD/.tools/mesa keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  if [ ! -e "$into/root" ]; then
    say "unpacking Mesa's Vulkan driver from Debian's backports into .tools"
    [ -e "$keyring" ] || install_packages debian-archive-keyring
    rm -rf "$into"
    mkdir -p "$into/lists/partial" "$into/cache/archives/partial" "$into/aside"
    touch "$into/status"
    printf "deb [signed-by=$keyring] http://deb.debian.org/debian %s main\n" trixie trixie-backports >"$into/sources"
    local options=(-qq -o Debug::NoLocking=true -o APT::Install-Recommends=false -o Dir::Cache="$into/cache"
      -o Dir::State::Lists="$into/lists" -o Dir::State::status="$into/status" -o Dir::Etc::SourceList="$into/sources"
      -o Dir::Etc::SourceParts=/dev/null -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null)
    apt-get "${options[@]}" update
    apt-get "${options[@]}" -y --download-only -t trixie-backports install mesa-vulkan-drivers libvulkan1 >/dev/null
    local package
    for package in "$into"/cache/archives/*.deb; do
      dpkg-deb -x "$package" "$into/aside"
    done
    rm -rf "$into/cache" "$into/lists"
    mv "$into/aside" "$into/root"
  fi
  local libraries=("$into"/root/usr/lib/*-linux-gnu) drivers=("$into"/root/usr/share/vulkan/icd.d/lvp*.json)
  local loaders=("${libraries[0]}"/ld-linux-*.so.*) host
  host=$(rustc -vV | sed -n 's/^host: //p' | tr a-z- A-Z_)
  export VK_DRIVER_FILES=${drivers[0]} "CARGO_TARGET_${host}_RUNNER=${loaders[0]} --library-path ${libraries[0]}"
}

need_wasm_target() {
  local libraries
  libraries=$(rustc --print target-libdir --target wasm32-unknown-unknown)
  if [ ! -d "$libraries" ]; then
    say "adding the Rust target wasm32-unknown-unknown"
    need_command rustup "or install the target wasm32-unknown-unknown by other means"
    rustup target add wasm32-unknown-unknown
  fi
}

# The version of the command has to be the crate's, to the last digit.
need_wasm_bindgen() {
  local version
  version=$(awk '/^name = "wasm-bindgen"$/ { getline; gsub(/"/, "", $3); print $3 }' Cargo.lock)
  if [ "$(.tools/bin/wasm-bindgen --version 2>/dev/null)" != "wasm-bindgen $version" ]; then
    say "installing wasm-bindgen $version into .tools (some minutes)"
    # Not --locked: its own lock file names a version that crates.io does not have.
    cargo install --quiet wasm-bindgen-cli --version "$version" --root .tools
  fi
}

need_npm_packages() {
  if [ ! -e www/node_modules/.package-lock.json ] || [ www/package-lock.json -nt www/node_modules/.package-lock.json ]; then
    say "installing the npm packages"
    (cd www && npm ci --no-fund --no-audit --loglevel=error)
    # npm keeps the time of the lock it unpacked, which would ask for this again.
    touch www/node_modules/.package-lock.json
  fi
}

# --- building -----------------------------------------------------------------------------------------------------

build_wasm() { build_wasm_into www/src/wasm target; }

# With `kinetoscope::bench`, which the page does without; apart, because cargo gives both the same name.
build_wasm_bench() { build_wasm_into www/src/wasm-bench target/bench --features bench; }

# Builds into a folder, by way of another, with options of cargo's.
build_wasm_into() {
  local out=$1 target=$2
  local in=$target/wasm32-unknown-unknown/release/kinetoscope.wasm
  need_rust
  need_node
  need_wasm_target
  need_wasm_bindgen
  need_npm_packages
  say "building the wasm"
  cargo build --release --target wasm32-unknown-unknown --target-dir "$target" -p kinetoscope --lib "${@:3}"
  if [ "$out/kinetoscope_bg.wasm" -nt "$in" ]; then
    return
  fi
  # Made aside and then moved: an interrupted run leaves nothing that looks finished.
  local aside
  aside=$(mktemp -d target/wasm-bindgen.XXXXXX)
  .tools/bin/wasm-bindgen --target web --out-dir "$aside" --out-name kinetoscope "$in"
  say "optimising the wasm"
  # The features that Rust's wasm32 target and .cargo/config.toml switch on.
  www/node_modules/.bin/wasm-opt -O3 --enable-simd --enable-bulk-memory --enable-sign-ext --enable-mutable-globals \
    --enable-nontrapping-float-to-int --enable-reference-types --enable-multivalue \
    "$aside/kinetoscope_bg.wasm" -o "$aside/kinetoscope_opt.wasm"
  mv "$aside/kinetoscope_opt.wasm" "$aside/kinetoscope_bg.wasm"
  chmod 755 "$aside"
  rm -rf "$out"
  mv "$aside" "$out"
  say "wasm: $(wc -c <"$out/kinetoscope_bg.wasm") bytes, $(gzip -9c "$out/kinetoscope_bg.wasm" | wc -c) with gzip"
}

build_page() {
  build_wasm
  say "building the page"
  (cd www && npm run --silent build -- --logLevel warn)
}

build_library() {
  build_wasm
  say "building the library"
  (cd www && npm run --silent build:lib)
}

# --- run ----------------------------------------------------------------------------------------------------------

run_page() {
  build_page
  say "serving the page; Ctrl+C ends it"
  cd www
  exec npx --no-install vite preview
}

run_clip() {
  need_chromium
  build_page
  say "making the clip"
  local out=$2
  [[ $out = /* ]] || out=$PWD/$out
  (cd www && node scripts/clip.mjs "$1" "$out")
}

# --- test ---------------------------------------------------------------------------------------------------------

test_format() { cargo fmt --all --check; }
test_clippy() { cargo clippy --workspace --all-targets --features cli -- -D warnings; }
test_clippy_wasm() {
  cargo clippy -p kinetoscope --features bench --lib --test wasm --target wasm32-unknown-unknown -- -D warnings
}
test_native() { cargo test --workspace --features cli; }
test_wasm() {
  CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER=$PWD/.tools/bin/wasm-bindgen-test-runner \
    WASM_BINDGEN_TEST_WEBDRIVER_JSON=$PWD/tests/wasm/webdriver.json WASM_BINDGEN_TEST_TIMEOUT=600 \
    CHROMEDRIVER=$(command -v chromedriver) \
    cargo test --target wasm32-unknown-unknown -p kinetoscope --features bench --test wasm
}
test_types() { (cd www && npm run --silent check); }
# Of the bench's wasm only the types, which a debug build has too.
test_bench_types() {
  cargo build --target wasm32-unknown-unknown -p kinetoscope --features bench --lib &&
    .tools/bin/wasm-bindgen --target web --out-dir target/bench-types/wasm-bench --out-name kinetoscope \
      target/wasm32-unknown-unknown/debug/kinetoscope.wasm &&
    (cd www && npm run --silent check:bench)
}
test_prettier() { (cd www && npm run --silent format:check); }
test_units() { (cd www && npm run --silent test); }
test_browser() { (cd www && npm run --silent test:browser); }

results=()
failed=0

# Runs one check, notes how it went, and goes on: one run shows all that is wrong.
check() {
  local name=$1 started=$SECONDS outcome=passed
  shift
  say "$name"
  "$@" || outcome=FAILED
  [ "$outcome" = passed ] || failed=1
  results+=("$(printf '%-8s %4d s  %s' "$outcome" $((SECONDS - started)) "$name")")
}

run_tests() {
  need_rust
  need_node
  need_chromium
  need_chromedriver
  need_vulkan
  need_wasm_target
  need_wasm_bindgen
  need_npm_packages
  # `check` looks at a command's result, where `set -e` does not reach: each is one command, or a subshell of them.
  check "Rust: format" test_format
  check "Rust: clippy" test_clippy
  check "Rust: clippy for wasm" test_clippy_wasm
  check "Rust: tests" test_native
  check "Rust: tests of matrix units" ./build.sh matrices
  check "Rust: tests in the browser" test_wasm
  check "wasm" ./build.sh wasm
  check "TypeScript: types" test_types
  check "TypeScript: types of the bench" test_bench_types
  check "TypeScript: format" test_prettier
  check "TypeScript: unit tests" test_units
  check "page" ./build.sh page
  check "library" ./build.sh library
  check "browser tests" test_browser
  say "summary"
  printf '%s\n' "${results[@]}"
  return "$failed"
}

# --- pack ---------------------------------------------------------------------------------------------------------

pack() {
  build_library
  mkdir -p out
  (cd www && npm pack --silent --pack-destination ../out)
}

# --- bench --------------------------------------------------------------------------------------------------------

run_bench() {
  need_chromium
  build_wasm_bench
  say "building the bench"
  (cd www && npm run --silent build:bench -- --logLevel warn)
  say "measuring"
  node www/scripts/bench.mjs "$@"
}

usage() {
  sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' build.sh
}

case "${1:-}:$#" in
  run:1) run_page ;;
  run:3) run_clip "$2" "$3" ;;
  test:1) run_tests ;;
  matrices:1)
    need_rust
    need_vulkan
    need_matrix_units
    # Those that are left out elsewhere.
    cargo test -p kinetoscope --features cli --lib --test gpu_hot --test golden -- --ignored matrix_units
    ;;
  pack:1) pack ;;
  bench:*) run_bench "${@:2}" ;;
  wasm:1) build_wasm ;;
  wasm-bench:1) build_wasm_bench ;;
  page:1) build_page ;;
  library:1) build_library ;;
  *)
    usage >&2
    exit 2
    ;;
esac
