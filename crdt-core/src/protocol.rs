//! The wire: messages, their encoding, and frames. `PROTOCOL.md` is the same in prose.
//!
//! Wire bytes appear nowhere else. Every decoder is bounded before it allocates and returns a typed error;
//! fields that this version does not know are skipped.

mod batch;
mod bounds;
mod erase;
mod frame;
mod handshake;
mod lineage;
mod message;
mod page;
mod receipt;
mod relay;
mod table;
mod wire;

pub use batch::{Batch, Dependencies, DocumentChanges, DocumentRef, Identity, SentChange};
pub use erase::{EraseRecord, Erasure};
pub use frame::{FrameError, decode_frame, encode_frame, plain_len};
pub use handshake::{Cursor, Hello, PeerLimits, Recovery, ScopeCursor, Welcome};
pub use lineage::{Ended, Parting};
pub use message::{Ack, Fetch, Goodbye, GoodbyeCode, Message, NewToken, Push, TokenTaken};
pub use page::{AuthorName, Entry, Page, PagePart, PageParts, Staged};
pub use receipt::{AcceptedDocument, Outcome, Receipt, Refusal, ShortReceipt};
pub use relay::{Compare, Compared, Lack, Lacking, Relay, Relayed};

/// The WebSocket subprotocol.
pub const SUBPROTOCOL: &str = "fieldbook.v1";
/// The versions of the messages that this build speaks, best first.
pub const VERSIONS: &[u32] = &[1];
