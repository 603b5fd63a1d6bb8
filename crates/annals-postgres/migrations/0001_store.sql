-- The tables of a store, version 1. "{schema}" stands for the schema.

-- What the store is. One row.
CREATE TABLE {schema}.store (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    id uuid NOT NULL,
    schema_version integer NOT NULL,
    -- 'dense': positions are 1, 2, 3 and so on. 'fast': they are made of transaction ids.
    positions text NOT NULL CHECK (positions IN ('dense', 'fast')),
    -- What is added to a transaction id, so that positions go on after the tables were moved to another cluster.
    xid_base bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- The position and the time of the newest commit of a dense store. Each commit locks the row. One row.
CREATE TABLE {schema}.head (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    position bigint NOT NULL,
    recorded_at bigint NOT NULL
) WITH (fillfactor = 10);

-- Times are microseconds since the Unix epoch. Names are compared by their bytes.
CREATE TABLE {schema}.events (
    position bigint PRIMARY KEY,
    -- The position of the first event of the event's commit.
    commit_position bigint NOT NULL,
    is_last boolean NOT NULL,
    id uuid NOT NULL,
    stream text COLLATE "C" NOT NULL,
    category text COLLATE "C" NOT NULL GENERATED ALWAYS AS (split_part(stream, '-', 1)) STORED,
    version bigint NOT NULL,
    event_type text COLLATE "C" NOT NULL,
    schema_version integer NOT NULL,
    -- 0: binary, 1: JSON.
    content_type smallint NOT NULL,
    recorded_at bigint NOT NULL,
    -- Bytes of data and metadata.
    size integer NOT NULL,
    tags text[] COLLATE "C" NOT NULL,
    data bytea NOT NULL,
    metadata bytea NOT NULL,
    CONSTRAINT events_id UNIQUE (id),
    CONSTRAINT events_version UNIQUE (stream, version)
);
CREATE INDEX events_type ON {schema}.events (event_type, position);
CREATE INDEX events_category ON {schema}.events (category, position);
CREATE INDEX events_tags ON {schema}.events USING gin (tags) WITH (gin_pending_list_limit = 512);

CREATE TABLE {schema}.checkpoints (
    name text COLLATE "C" PRIMARY KEY,
    position bigint NOT NULL,
    saved_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE {schema}.snapshots (
    key text COLLATE "C" NOT NULL,
    -- 0: the mark is a version, 1: it is a position.
    kind smallint NOT NULL,
    mark bigint NOT NULL,
    schema_version bigint NOT NULL,
    saved_at bigint NOT NULL,
    state bytea NOT NULL,
    PRIMARY KEY (key, kind, mark)
);
