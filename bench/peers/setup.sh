#!/bin/sh
# Installs what the benchmarks compare with (Debian, Ubuntu): nginx with nchan, Redis,
# a C compiler. No service is started; the benchmarks start their own, on free ports.
#
#   sudo sh bench/peers/setup.sh && pip install -e '.[bench]'
set -eu

policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -y -q --no-install-recommends \
    gcc libc6-dev nginx libnginx-mod-nchan redis-server
