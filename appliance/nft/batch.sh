#!/bin/sh
# Makes src/podzol.batch of src/podzol.nft, which must be done whenever that changes (`tests/kernel` finds it out): the bytes
# that nft(8) sends the kernel for it, in a network namespace of its own. Needs root, nft and strace.
set -eu
cd "$(dirname "$0")/src"
trace=$(mktemp)
trap 'rm -f "$trace"' EXIT
{ echo flush ruleset; cat podzol.nft; } | unshare -n strace -e trace=sendmsg -e write=3 -s 0 -o "$trace" nft -f -
# A line of a dump has 16 bytes, in two groups of eight, and then the same as text.
sed -n 's/^ | [0-9a-f]*  \(.\{49\}\).*/\1/p' "$trace" | tr -d ' \n' | tr a-f A-F | basenc --base16 -d > podzol.batch
test -s podzol.batch
