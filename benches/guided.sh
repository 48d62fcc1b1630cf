#!/usr/bin/env bash
# Builds target/guided/keybearer, guided by a profile: a first build counts what runs how often under the
# benches' load, a second one is laid out by that. `make guided` installs what this needs.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$PWD/target/guided
mkdir -p "$folder"
exec 9>"$folder/lock"
flock 9

# Unlike times of files, this tells for certain whether it is still the same.
made_of() {
  {
    rustc -vV
    printf '%s\n' "${CARGO_ENCODED_RUSTFLAGS:-${RUSTFLAGS:-}}"
    find Cargo.toml Cargo.lock src config benches -type f -print0 | sort -z | xargs -0 sha256sum
  } | sha256sum
}
made_of=$(made_of)
if [ -x "$folder/keybearer" ] && [ "$made_of" = "$(cat "$folder/made-of" 2>/dev/null)" ]; then
  echo "target/guided/keybearer is as it would be built"
  exit
fi

host=$(rustc -vV | sed -n 's/^host: //p')
# The compiler's own reader of profiles fits for certain; Debian's has to know the format.
profdata=$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata
[ -x "$profdata" ] || profdata=llvm-profdata-19

# For a named target: what runs while building only is neither counted nor built twice.
built=$folder/$host/release/keybearer
flags=${CARGO_ENCODED_RUSTFLAGS:-${RUSTFLAGS:+${RUSTFLAGS// /$'\x1f'}}}
build() {
  CARGO_ENCODED_RUSTFLAGS=${flags:+$flags$'\x1f'}$1 \
    cargo build --release --locked --bin keybearer --target "$host" --target-dir "$folder"
}
load() {
  KEYBEARER=$1 cargo test --locked --bench end_to_end -- --smoke --no-install --contestants "$2"
  KEYBEARER=$1 cargo test --locked --bench webhooks -- --smoke
}

rm -rf "$folder/counts"
build "-Cprofile-generate=$folder/counts"
kinds=keybearer,keybearer-log,keybearer-oauth,keybearer-traces,keybearer-aws,keybearer-h2,keybearer-h2c
(unset LLVM_PROFILE_FILE && load "$built" "$kinds,keybearer-connect,keybearer-agent")
"$profdata" merge --sparse -o "$folder/profile" "$folder/counts" || {
  echo "$profdata does not read what this compiler counts; what does: rustup component add llvm-tools" >&2
  exit 1
}
build "-Cprofile-use=$folder/profile"
if grep -qa __llvm_profile_write_file "$built"; then
  echo "$built still counts" >&2
  exit 1
fi
load "$built" keybearer
install "$built" "$folder/keybearer"
echo "$made_of" >"$folder/made-of"
