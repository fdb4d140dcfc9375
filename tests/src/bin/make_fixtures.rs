//! Makes the fixtures of this build's format anew: only while that format is not released.

fn main() -> anyhow::Result<()> {
    tests::fixtures::make()
}
