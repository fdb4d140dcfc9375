//! What every backend owes, in code.
