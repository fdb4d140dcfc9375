//! What the server's tests share; each test file uses its own part.
#![allow(dead_code, reason = "every test file is a program of its own and uses a part of this")]

pub mod device;
pub mod random;
pub mod sales;
pub mod world;
