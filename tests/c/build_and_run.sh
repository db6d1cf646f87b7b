#!/usr/bin/env bash
# Build test_sha256.c and test_json.c and run them; anything missing is a failure, never a skip. Installs nothing.
#   build_and_run.sh       here: optimised, then under AddressSanitizer and UndefinedBehaviorSanitizer.  CC, default gcc
#   build_and_run.sh arm   ARMv8 under qemu-aarch64, with and without its SHA-256 instructions.
#                          Debian: gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user
#   build_and_run.sh x86   x86-64 under qemu-x86_64 as CPUs without SHA extensions.  Debian: gcc qemu-user
set -euo pipefail
cd "$(dirname "$0")"
csrc=../../src/opensearch_sigv4/core/csrc
sources=("$csrc"/cpu.c "$csrc"/sha256.c "$csrc"/sha256_portable.c "$csrc"/sha256_x86.c "$csrc"/sha256_arm.c test_sha256.c)
json=("$csrc"/json.c test_json.c)
flags=(-std=c11 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror -I "$csrc")
sanitizers=(-g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all)

build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT

# expect PATHS COMMAND...: the command succeeds, and these paths are what ran.
expect() {
  local paths=$1 ran
  shift
  "$@" | tee "$build/output"
  ran=$(sed -n 's/^paths: //p' "$build/output")
  if [ "$ran" != "$paths" ]; then
    echo "expected the paths '$paths', but '$ran' ran" >&2
    exit 1
  fi
}

case "${1-native}" in
  native)
    cc=${CC:-gcc}
    echo "== $cc -O2"
    "$cc" "${flags[@]}" -O2 "${sources[@]}" -o "$build/test"
    "$build/test"
    "$cc" "${flags[@]}" -O2 "${json[@]}" -o "$build/test-json"
    "$build/test-json"
    echo "== $cc -O1, sanitizers"
    "$cc" "${flags[@]}" -O1 "${sanitizers[@]}" "${sources[@]}" -o "$build/test-sanitizers"
    "$build/test-sanitizers"
    "$cc" "${flags[@]}" -O1 "${sanitizers[@]}" "${json[@]}" -o "$build/test-json-sanitizers"
    "$build/test-json-sanitizers"
    ;;
  arm)
    cc=${CC:-aarch64-linux-gnu-gcc}
    "$cc" "${flags[@]}" -O2 -static "${sources[@]}" -o "$build/test"
    echo "== $cc -O2, qemu-aarch64 -cpu max"
    expect "arm-sha2 portable" qemu-aarch64 -cpu max "$build/test"
    "$cc" "${flags[@]}" -O2 -static "${json[@]}" -o "$build/test-json"
    qemu-aarch64 -cpu max "$build/test-json"
    # Each of QEMU's ARMv8 models has SHA-256, so it is taken out of what the kernel says: see no_sha2.c.
    "$cc" "${flags[@]}" -O2 -static -Wl,--wrap=getauxval "${sources[@]}" no_sha2.c -o "$build/test-no-sha2"
    echo "== $cc -O2, qemu-aarch64 -cpu max, AT_HWCAP without SHA2"
    expect "portable" qemu-aarch64 -cpu max "$build/test-no-sha2"
    ;;
  x86)
    cc=${CC:-gcc}
    "$cc" "${flags[@]}" -O2 -static "${sources[@]}" -o "$build/test"
    for cpu in qemu64 Nehalem; do
      echo "== $cc -O2, qemu-x86_64 -cpu $cpu"
      expect "portable" qemu-x86_64 -cpu "$cpu" "$build/test"
    done
    ;;
  *)
    sed -n '2,7s/^# \?//p' "$(basename "$0")" >&2
    exit 2
    ;;
esac
