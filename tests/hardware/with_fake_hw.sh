#!/bin/bash
# with_fake_hw.sh COMMAND...: runs it inside a private mount namespace with a /sys/class/powercap of known power, and
# with the fake NVML on LD_LIBRARY_PATH (unless NO_NVML=1). Needs root, unshare and a C compiler. Exits 96 to 98 where
# the namespace cannot be made.
#
# Settings: PKG_W=100 CORE_W=70 DRAM_W=20 PERIOD_US=1000 START_UJ=100000000000 RANGE_UJ=262143328850 NO_DRAM=1
# The command sees FAKE_RAPL (the powercap folder), FAKE_HW_DIR (holds t0, see rapl_writer.c) and FAKE_RAPL_WRITER_PID
# (SIGUSR1 freezes, SIGUSR2 resets). RANGE_UJ=500000000 wraps each 5 s at 100 W.
set -u
here=$(cd "$(dirname "$0")" && pwd)
build=$here/build
mkdir -p "$build/nvml"
# Into a name of its own first: two runs may build at once.
make_one() { [ "$1" -nt "$2" ] || { shift 2; "$@" -o "$out.$$" && mv "$out.$$" "$out"; }; }
out=$build/rapl_writer
make_one "$out" "$here/rapl_writer.c" gcc -O2 "$here/rapl_writer.c" || exit 96
if [ -z "${NO_NVML:-}" ]; then
  out=$build/nvml/libnvidia-ml.so.1
  make_one "$out" "$here/fake_nvml.c" gcc -shared -fPIC -O2 -Wl,-soname,libnvidia-ml.so.1 "$here/fake_nvml.c" -lm || exit 96
  export LD_LIBRARY_PATH=$build/nvml${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
fi
export PKG_W=${PKG_W:-100} CORE_W=${CORE_W:-70} DRAM_W=${DRAM_W:-20} PERIOD_US=${PERIOD_US:-1000}
export START_UJ=${START_UJ:-100000000000} RANGE_UJ=${RANGE_UJ:-262143328850} NO_DRAM=${NO_DRAM:-}
exec unshare -m bash -c '
build=$1; shift
mount --make-rprivate / || exit 97
t=$(mktemp -d -t fakehw.XXXXXX); mount -t tmpfs -o mode=755 tmpfs "$t" || exit 97
mkdir "$t/u" "$t/w" "$t/pc"
# sysfs allows no mkdir: an overlay over /sys/class keeps every other class, its relative links still resolve.
mount -t overlay overlay -o "lowerdir=/sys/class,upperdir=$t/u,workdir=$t/w" /sys/class || exit 97
P=/sys/class/powercap; mkdir -p $P && mount --bind "$t/pc" $P || exit 98
D=$P/intel-rapl; mkdir -p $D/intel-rapl:0/intel-rapl:0:0 $D/intel-rapl:0/intel-rapl:0:1
make_zone() { echo "$2" > $1/name; echo $START_UJ > $1/energy_uj; echo $RANGE_UJ > $1/max_energy_range_uj; echo 1 > $1/enabled; }
make_zone $D/intel-rapl:0 package-0; make_zone $D/intel-rapl:0/intel-rapl:0:0 core
make_zone $D/intel-rapl:0/intel-rapl:0:1 ${NO_DRAM:+no-}dram
echo 1 > $D/enabled; ln -s .. $D/subsystem
ln -s intel-rapl/intel-rapl:0 $P/intel-rapl:0
ln -s intel-rapl/intel-rapl:0/intel-rapl:0:0 $P/intel-rapl:0:0
ln -s intel-rapl/intel-rapl:0/intel-rapl:0:1 $P/intel-rapl:0:1
export FAKE_RAPL=$P FAKE_HW_DIR=$t
"$build/rapl_writer" "$t/pc" $PKG_W $CORE_W $DRAM_W $PERIOD_US $START_UJ $RANGE_UJ & W=$!
export FAKE_RAPL_WRITER_PID=$W
trap "kill $W 2>/dev/null" EXIT
for i in $(seq 200); do [ -s "$t/t0" ] && break; sleep 0.01; done
[ -s "$t/t0" ] || exit 98
"$@"; rc=$?
kill $W; wait $W 2>/dev/null
trap - EXIT
umount -l $P /sys/class "$t" 2>/dev/null; rmdir "$t" 2>/dev/null
exit $rc' _ "$build" "$@"
