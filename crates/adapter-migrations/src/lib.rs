//! Has tests only: `tests/embedded` with databases in files, `tests/postgres` with a server.
