//! Where a statement may run. Nothing else makes a route: [`lane`] is asked once a text, and what it says stands in
//! the judgement. Whether a server is there and fresh enough is for those who see the topology.

mod lanes;

pub use lanes::{Lane, Lanes};

use super::Kind;
use super::facts::Facts;

/// The lane of a text, given what the policies wish. What is not the primary takes only what is one single statement, a query,
/// provably read-only, and leaves no session state: a wish cannot make a write safe.
#[must_use]
pub fn lane(wish: Option<Lane>, statements: &[Facts]) -> Lane {
    match (wish, statements) {
        (Some(lane), [only])
            if only.kind == Kind::Select && only.read_only && only.effects.is_none() && !only.for_update =>
        {
            lane
        }
        _ => Lane::Primary,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Effects;
    use super::*;

    fn query() -> Facts {
        Facts { kind: Kind::Select, read_only: true, effects: Effects::NONE, ..Facts::unparsed(8) }
    }

    #[test]
    fn a_lane_takes_one_provably_read_only_query_if_a_policy_wishes() {
        assert_eq!(lane(Some(Lane::Replica), &[query()]), Lane::Replica);
        assert_eq!(lane(Some(Lane::Named(3)), &[query()]), Lane::Named(3));
        assert_eq!(lane(None, &[query()]), Lane::Primary);
        assert_eq!(lane(Some(Lane::Primary), &[query()]), Lane::Primary);
    }

    #[test]
    fn everything_else_stays_on_the_primary() {
        let begin = Facts { kind: Kind::Transaction, ..query() };
        let others = [
            Facts::unparsed(8),
            Facts { read_only: false, ..query() },
            Facts { for_update: true, ..query() },
            Facts { effects: Effects::SETTING, ..query() },
            Facts { kind: Kind::Set, ..query() },
            begin.clone(),
        ];
        for facts in others {
            for wish in [Lane::Replica, Lane::Named(0)] {
                assert_eq!(lane(Some(wish), std::slice::from_ref(&facts)), Lane::Primary, "{facts:?}");
            }
        }
        assert_eq!(lane(Some(Lane::Replica), &[query(), query()]), Lane::Primary);
        assert_eq!(lane(Some(Lane::Replica), &[begin, query()]), Lane::Primary);
        assert_eq!(lane(Some(Lane::Replica), &[]), Lane::Primary);
    }
}
