# For scripts that need a cluster on this machine; sourced, not run.
#   start_dev_cluster FALAJ WORK [ARGUMENTS]   `falaj dev` in the background, on free ports, its data below WORK. Exports
#                                              FALAJ_ADDRESS. What the cluster prints is in WORK/cluster.
#   stop_dev_cluster                           Ends it in good order; fails if it does not, or was never started.
dev_cluster=

start_dev_cluster() {
  local falaj=$1 work=$2
  shift 2
  "$falaj" dev --data "$work/data" --port 0 --http-port 0 "$@" > "$work/cluster" 2>&1 &
  dev_cluster=$!
  for _ in $(seq 300); do
    grep -q '^ready' "$work/cluster" && break
    kill -0 "$dev_cluster" 2> /dev/null || break
    sleep 0.1
  done
  FALAJ_ADDRESS=$(sed -n 's/^ready.*--address \([^ ]*\) .*/\1/p' "$work/cluster")
  export FALAJ_ADDRESS
  [ -n "$FALAJ_ADDRESS" ] || { cat "$work/cluster" >&2; echo "the cluster did not become ready" >&2; return 1; }
}

stop_dev_cluster() {
  local cluster=$dev_cluster
  dev_cluster=
  [ -n "$cluster" ] && kill "$cluster" && wait "$cluster"
}
