//! The public API, over a real directory.

mod smoke;
