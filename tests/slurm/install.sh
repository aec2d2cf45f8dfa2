#!/bin/sh
# SLURM and MUNGE for the tests, where they can be had without asking anyone: as root, from apt.
# Elsewhere nothing is installed, and the tests say what is missing.
command -v slurmctld >/dev/null && command -v munged >/dev/null && exit 0
[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || exit 0
echo "Installing slurm-wlm and munge with apt-get, once."
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
{ apt-get update && apt-get install -y --no-install-recommends slurm-wlm munge; } >"$log" 2>&1 ||
    { tail -n 3 "$log"; echo "apt-get could not install them: the tests are skipped."; }
rm -f "$log"
