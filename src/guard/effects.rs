//! What a statement may do to its session, told from its text.

/// Session state a statement may leave on its server, and other ways in which it concerns the session, as a set of
/// bits. Judged from the text alone, so each bit says *may*: what is really left is asked of the server itself when
/// the transaction is over (`session/probe.rs`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Effects(pub u32);

impl Effects {
    pub const NONE: Self = Self(0);

    // Kinds of session state. Those that the server shows are asked for; the others stay until `DISCARD ALL`.

    /// `SET`, `RESET x`, `set_config()`: a setting of the session, other than `SET LOCAL`. Followed from server to
    /// server: it pins only where its value can't be learned.
    pub const SETTING: Self = Self(1 << 0);
    /// `SET ROLE`, `SET SESSION AUTHORIZATION`.
    pub const ROLE: Self = Self(1 << 1);
    /// Temporary tables, views, sequences, types, functions.
    pub const TEMP_TABLE: Self = Self(1 << 2);
    pub const LISTEN: Self = Self(1 << 3);
    /// Advisory locks of the session, not of the transaction.
    pub const ADVISORY_LOCK: Self = Self(1 << 4);
    /// SQL-level `PREPARE`.
    pub const SQL_PREPARE: Self = Self(1 << 5);
    /// `DECLARE … WITH HOLD`.
    pub const HOLD_CURSOR: Self = Self(1 << 6);
    /// `LOAD`. Not shown by the server.
    pub const LIBRARY: Self = Self(1 << 7);
    /// State that no one can look at: `setseed()`, connections of `dblink`, a `DO` block that makes settings or runs
    /// SQL it puts together.
    pub const OPAQUE: Self = Self(1 << 8);
    /// The grammar did not read it: may have done any of the above.
    pub const UNPARSED: Self = Self(1 << 9);
    /// `currval()`, `lastval()`: the client counts on what it did to a sequence before.
    pub const SEQUENCE: Self = Self(1 << 10);
    /// A replication connection: its server is its own from the start.
    pub const REPLICATION: Self = Self(1 << 11);

    // What else is to be known of a statement. None of these pins.

    /// May end state that is held: `DROP`, `UNLISTEN`, `CLOSE`, `DEALLOCATE`, `RESET ROLE`, an unlock, `DISCARD`.
    pub const ENDS: Self = Self(1 << 12);
    /// `DO`, `CALL` and what was not parsed: may have made any setting, of any name.
    pub const ANY_SETTING: Self = Self(1 << 13);
    /// Calls functions that are not PostgreSQL's own, or writes where triggers may run.
    pub const CALLS: Self = Self(1 << 14);
    /// `RESET x`, `SET x TO DEFAULT`.
    pub const RESET: Self = Self(1 << 15);
    /// `RESET ALL`: every setting is the start-up's again.
    pub const RESET_ALL: Self = Self(1 << 16);
    /// `DISCARD ALL`: what was left before is gone.
    pub const DISCARD_ALL: Self = Self(1 << 17);
    /// SQL `PREPARE`, `EXECUTE` or `DEALLOCATE` of a name that is ours on the server, where other clients'
    /// statements are: refused.
    pub const RESERVED_NAME: Self = Self(1 << 18);
    /// SQL `PREPARE`, `EXECUTE` or `DEALLOCATE`, which may name a statement of the protocol.
    pub const NAMES_PREPARED: Self = Self(1 << 19);
    /// Looks at `pg_prepared_statements`.
    pub const READS_PREPARED: Self = Self(1 << 20);
    /// `SET LOCAL`, `set_config(…, true)`: until the transaction ends a text may mean something else.
    pub const LOCAL_SETTING: Self = Self(1 << 21);
    /// `nextval()`, `setval()`.
    pub const MOVES_SEQUENCE: Self = Self(1 << 23);
    /// Names a setting of the application's own (`app.user`), which no server lists.
    pub const CUSTOM_SETTING: Self = Self(1 << 24);
    /// May change what a text means that was prepared before: DDL, and what may hide it.
    pub const SCHEMA: Self = Self(1 << 22);

    /// Every kind of state with its metric label, in bit order.
    pub const PINS: [(Self, &'static str); 12] = [
        (Self::SETTING, "setting"),
        (Self::ROLE, "role"),
        (Self::TEMP_TABLE, "temp_table"),
        (Self::LISTEN, "listen"),
        (Self::ADVISORY_LOCK, "advisory_lock"),
        (Self::SQL_PREPARE, "sql_prepare"),
        (Self::HOLD_CURSOR, "hold_cursor"),
        (Self::LIBRARY, "library"),
        (Self::OPAQUE, "opaque"),
        (Self::UNPARSED, "unparsed"),
        (Self::SEQUENCE, "sequence"),
        (Self::REPLICATION, "replication"),
    ];

    /// The kinds that the server shows when it is asked.
    pub const SHOWN: Self = Self(
        Self::ROLE.0
            | Self::TEMP_TABLE.0
            | Self::LISTEN.0
            | Self::ADVISORY_LOCK.0
            | Self::SQL_PREPARE.0
            | Self::HOLD_CURSOR.0,
    );

    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
    #[must_use]
    pub const fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0 && other.0 != 0
    }
    /// At least one of these.
    #[must_use]
    pub const fn has_any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
    /// The kinds of state among them.
    #[must_use]
    pub const fn pins(self) -> Self {
        Self(self.0 & ((1 << Self::PINS.len()) - 1))
    }
    /// The kinds of state that the statement is about: not those that a `DO` block may leave as well as any other.
    #[must_use]
    pub const fn meant(self) -> Self {
        let unmeant = if self.has(Self::ANY_SETTING) { Self::SHOWN } else { Self::NONE };
        self.pins().without(unmeant).without(Self::SETTING)
    }
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}
