//! The bindings of a newer libsqlite3-sys, for a package that requires an older one.

pub use newer::*;
