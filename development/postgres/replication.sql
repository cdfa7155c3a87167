-- What the replica needs on the primary. It may be run again and again, on a database that has been
-- there for long as well.

SELECT format('CREATE ROLE replicator REPLICATION LOGIN PASSWORD %L', :'password')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'replicator') \gexec

-- A slot that had to give up its WAL is of no use any more.
SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
WHERE slot_name = 'replica' AND wal_status = 'lost';

SELECT pg_create_physical_replication_slot('replica', immediately_reserve => true)
WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = 'replica');
