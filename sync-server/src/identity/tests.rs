//! The promises of identity: tokens of known issuers are taken in their time, and nothing else ever.

mod fetching;
mod hostile;
mod keeping;
mod material;
mod sets;

use super::*;
