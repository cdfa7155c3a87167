-- Creates the role and the slot of the replica on the primary. Idempotent; also for existing databases.

SELECT format('CREATE ROLE replicator REPLICATION LOGIN PASSWORD %L', :'password')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'replicator') \gexec

-- A slot that has lost its WAL cannot be used any more.
SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
WHERE slot_name = 'replica' AND wal_status = 'lost';

SELECT pg_create_physical_replication_slot('replica', immediately_reserve => true)
WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = 'replica');
