//! The door: everything honest passes, in any order and by the expected way.

#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "support/history.rs"]
mod history;
#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "support/server.rs"]
mod server;

use crdt_core::record::{Door, Op};
use history::random::{Random, cases};
use history::{History, causal_order};
use server::Server;

#[test]
fn everything_honest_passes_in_any_causal_order_and_by_the_expected_door() {
    let (mut fast, mut slow) = (0, 0);
    for seed in 0..40 * cases() as u64 {
        let entity = ["account", "opportunity", "case", "activity"][seed as usize % 4];
        let history = History::of_seed(entity, 4, 40, seed);
        let mut order = causal_order(&history.changes, &mut Random::new(seed));
        // A seed is nobody's, but its record comes before it.
        order.retain(|place| *place != 0);
        order.insert(0, 0);
        let mut server = Server::of(entity, history.now());
        for place in order {
            let (change, encoded) = &history.changes[place];
            let live = |op: &Op| {
                let live = server.cells.live(&op.key);
                op.preds.iter().all(|pred| live.iter().any(|value| value.id == *pred))
            };
            let expected = match change.touches_text() || !change.ops.iter().all(live) {
                true => Door::Slow,
                false => Door::Fast,
            };
            let admitted = server.take(change, encoded);
            assert_eq!(admitted.encoded, *encoded, "seed {seed}");
            assert_eq!(admitted.door, expected, "seed {seed}: {change:?}");
            match admitted.door {
                Door::Fast => fast += 1,
                Door::Slow => slow += 1,
            }
        }
        assert_eq!(server.cells, server.document().cells().unwrap(), "seed {seed}");
    }
    assert!(fast > 300 && slow > 100, "{fast} fast, {slow} slow: too few to mean anything");
}
