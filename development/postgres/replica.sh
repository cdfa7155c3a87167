#!/bin/bash
# Copies the primary once, then follows it. An interrupted copy is started again.
set -euo pipefail

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    rm -rf "$PGDATA.copy"
    mkdir -p "$(dirname "$PGDATA")"
    # --write-recovery-conf: it starts as a replica, with the same connection and slot.
    pg_basebackup --dbname="$PRIMARY_URL" --pgdata="$PGDATA.copy" --slot=replica \
        --wal-method=stream --checkpoint=fast --write-recovery-conf
    rm -rf "$PGDATA"
    mv "$PGDATA.copy" "$PGDATA"
fi

exec docker-entrypoint.sh postgres "$@"
