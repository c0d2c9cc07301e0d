//! Who asks: known by the token or the way it came, never by what a request says of itself.
//!
//! Decides whose turns a request takes in the queue and with whom it shares what is in memory; what may be read decides
//! [`knowledge::Reader`].

use engine::{Owner, key_of};

/// Whoever a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Principal {
    /// Anybody: no token is needed, or the address is open to all.
    Anyone,
    /// A command on this machine, through the local socket.
    Local,
    /// Whoever presents the token of all.
    Common,
    /// A caller with a token of its own.
    Named(String),
}

impl Principal {
    /// Whose turns its questions, searches and all but completions take. Completions have others, so that a program
    /// that sends many does not keep people waiting who use the page with the same token.
    pub(crate) fn caller(&self) -> u128 {
        self.key("house", &[])
    }

    /// Whose its completions are. `user`, what the request calls the person behind it, parts the principal's own share:
    /// it can reach nobody else's memory and gains no turns.
    pub(crate) fn of_completion(&self, user: &str) -> Owner {
        Owner {
            caller: self.key("completion", &[]),
            partition: self.key("completion", &[user]),
        }
    }

    fn key(&self, kind: &str, more: &[&str]) -> u128 {
        let (how, name) = match self {
            Self::Anyone => ("anyone", ""),
            Self::Local => ("local", ""),
            Self::Common => ("common", ""),
            Self::Named(name) => ("named", name.as_str()),
        };
        let parts = [&[kind, how, name], more].concat();
        key_of(&parts)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use knowledge::Reader;

    use super::*;

    fn named(name: &str) -> Principal {
        Principal::Named(name.into())
    }

    #[test]
    fn no_user_reaches_the_memory_of_another_caller_or_kind() {
        let principals = [
            Principal::Anyone,
            Principal::Local,
            Principal::Common,
            named("desk"),
            named("desk "),
            named("common"),
        ];
        let users = ["", "desk", "grounded 2:hr;", "completion", "common", "x"];
        let mut partitions: BTreeSet<u128> = [Reader::of(["hr"]), Reader::keeper(), Reader::anyone()]
            .map(|reader| assistant::partition_of(&reader))
            .into();
        for principal in &principals {
            partitions.insert(principal.caller());
            partitions.extend(users.map(|user| principal.of_completion(user).partition));
        }
        assert_eq!(partitions.len(), 3 + principals.len() * (1 + users.len()));
    }

    #[test]
    fn a_user_gains_no_turns() {
        let desk = named("desk");
        assert_eq!(
            desk.of_completion("a").caller,
            desk.of_completion("another one").caller
        );
        assert_eq!(desk.of_completion("a"), desk.of_completion("a"));
        assert_ne!(
            desk.of_completion("").caller,
            named("door").of_completion("").caller
        );
        assert_ne!(
            desk.of_completion("").caller,
            desk.caller(),
            "people on the page do not wait for programs"
        );
    }
}
