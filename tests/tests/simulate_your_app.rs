//! The simulator's public face: an app's own schema and policy run through 200 seeds, and a merge rule that is wrong
//! for the app is found and told with few steps.

use std::process::{Command, Output};

use tests::binaries;

fn simulate(arguments: &[&str]) -> (Output, String) {
    let mut example = Command::new(binaries::path("simulate_your_app"));
    let example = example.args(arguments).env_remove("FIELDBOOK_SEED");
    let output = example.output().expect("the example starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, text)
}

#[test]
fn an_apps_own_schema_and_policy_hold_in_two_hundred_simulations() {
    let (output, text) = simulate(&[]);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.starts_with("200 simulations ran to their end"), "{text}");
    assert!(text.contains("nothing failed"), "{text}");
}

#[test]
fn a_merge_rule_that_is_wrong_for_the_app_is_found_and_told_with_few_steps() {
    let (output, text) = simulate(&["--planted"]);
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("the invariant `no meter runs backwards` does not hold"), "{text}");
    assert!(text.contains("replay with FIELDBOOK_SEED="), "{text}");
    let (before, _) = text.split_once(" of 60 steps are enough").expect("the steps are counted");
    let left: usize = before.rsplit('\n').next().and_then(|count| count.parse().ok()).unwrap_or(60);
    assert!((1..=20).contains(&left), "{left} steps are not few:\n{text}");
}
