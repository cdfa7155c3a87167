#!/bin/bash
# Copies the primary once, then follows it. A copy that was cut off is begun anew.
set -euo pipefail

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    rm -rf "$PGDATA.copy"
    mkdir -p "$(dirname "$PGDATA")"
    # --write-recovery-conf: it comes up as a replica, with the same connection and slot.
    pg_basebackup --dbname="$PRIMARY_URL" --pgdata="$PGDATA.copy" --slot=replica \
        --wal-method=stream --checkpoint=fast --write-recovery-conf
    rm -rf "$PGDATA"
    mv "$PGDATA.copy" "$PGDATA"
fi

exec docker-entrypoint.sh postgres "$@"
