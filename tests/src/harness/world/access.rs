//! People, policies and devices as an operator governs them, and what follows for everybody's sessions.

use client_sdk::SyncPhase;
use crdt_core::id::{DeviceId, MemberId};
pub use sync_server::workspace::MemberChanges;
use sync_server::workspace::Workspace;

use super::{Device, World};

impl World {
    /// A world under a policy from its beginning.
    ///
    /// # Panics
    /// When the text is not a policy.
    #[must_use]
    pub fn governed(seed: u64, policy: &str) -> Self {
        let mut world = Self::new(seed);
        world.put_policy(policy);
        world
    }

    /// Adds a person of a role, with territories.
    pub fn person(&mut self, name: &str, role: &str, territories: &[&str]) -> MemberId {
        self.members += 1;
        let member = MemberId::from_source_key("simulated member", &self.members.to_string());
        self.enlist(member, name, &whoever(role, territories));
        member
    }

    /// Adds a person of whom the directory says this.
    ///
    /// # Panics
    /// When the server does not take it.
    pub fn enlist(&mut self, member: MemberId, name: &str, changes: &MemberChanges) {
        let now = self.time.true_wall();
        self.govern(|workspace| workspace.add_member(now, member, name, changes))
            .expect("the server takes a new member");
    }

    /// Changes what the directory says of a person.
    ///
    /// # Panics
    /// When the server does not take it.
    pub fn direct(&mut self, member: MemberId, changes: &MemberChanges) {
        let now = self.time.true_wall();
        self.govern(|workspace| workspace.set_member(now, member, changes))
            .expect("the server takes what the directory says");
    }

    /// Puts a policy in force.
    ///
    /// # Panics
    /// When the text is not one that can follow the one in force.
    pub fn put_policy(&mut self, text: &str) {
        let now = self.time.true_wall();
        self.govern(|workspace| workspace.set_policy(now, text, "policy.toml"))
            .expect("the policy can be put in force");
    }

    /// Shuts a device out.
    ///
    /// # Panics
    /// When the server's storage fails.
    pub fn revoke(&mut self, device: DeviceId) {
        let now = self.time.true_wall();
        self.govern(|workspace| workspace.revoke_device(now, device))
            .expect("the server stores that a device is shut out");
    }

    /// Shuts a device out: at its next contact it removes its file, with what it had not sent.
    ///
    /// # Panics
    /// When the device cannot be read.
    pub fn shut_out(&mut self, device: Device) {
        let hello = self.at(device).client().hello(String::new());
        let id = hello.expect("a device can be read").device;
        self.shut_out.insert(device.0);
        self.revoke(id);
    }

    /// Whether a device was shut out, or has removed its file with one that is a copy of it or of which it is
    /// one: to the server their files are the same.
    #[must_use]
    pub fn is_shut_out(&self, device: Device) -> bool {
        let is_wiped = || {
            let at = self.at(device);
            at.is_running() && at.sync().status().phase == SyncPhase::Revoked
        };
        let mut related =
            self.shut_out.iter().filter(|other| self.origin(**other) == self.origin(device.0));
        self.shut_out.contains(&device.0) || (is_wiped() && related.next().is_some())
    }

    /// The device with whose file a device's began.
    fn origin(&self, place: usize) -> usize {
        std::iter::successors(Some(place), |place| self.copies.get(place).copied())
            .last()
            .unwrap_or(place)
    }

    /// Installs the app again on a device that was shut out and has removed its file.
    ///
    /// # Panics
    /// When it still has its file.
    pub fn readmit(&mut self, device: Device) {
        assert!(!self.at(device).path().exists(), "{} kept its file", self.at(device).name);
        self.shut_out.remove(&device.0);
        self.forget(device);
        self.reinstall(device);
    }

    /// Does an operator's work while the server serves.
    pub fn govern<T>(&mut self, work: impl FnOnce(&mut Workspace) -> T) -> T {
        // What was handed in goes first; a server that dies of it is back before it is spoken to.
        let acts = self.server.commit(self.moment());
        self.act(acts);
        self.start_server();
        let (done, acts) = self.server.govern(self.moment(), work);
        self.act(acts);
        done
    }
}

/// A person of a role, with territories.
#[must_use]
pub fn whoever(role: &str, territories: &[&str]) -> MemberChanges {
    MemberChanges {
        role: Some(role.to_owned()),
        territories: Some(territories.iter().map(|name| (*name).to_owned()).collect()),
        ..MemberChanges::default()
    }
}
