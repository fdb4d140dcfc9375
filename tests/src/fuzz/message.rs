//! Bytes → one message. What decodes is bounded, and says the same when it is encoded and decoded again.

use crdt_core::limits;
use crdt_core::protocol::{Message, Staged, decode_frame, encode_frame};

pub(super) fn run(bytes: &[u8]) {
    let Ok(message) = decode_frame(bytes) else { return };
    let frame = encode_frame(&message);
    assert!(frame.len() <= limits::PLAIN_BYTES_MAX + 5, "a message of {} bytes", frame.len());
    // What inflates to more than a frame cannot be sent again as it is, and need not be.
    if frame.len() <= limits::FRAME_BYTES_MAX {
        let again = decode_frame(&frame).expect("what was encoded decodes");
        assert_eq!(encode_frame(&again), frame, "decoding loses or adds something");
    }
    if let Message::Page(part) = message {
        // The rest of the page never comes, or it is whole already.
        let _page = Staged::default().take(part);
    }
}
