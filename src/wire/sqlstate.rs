//! The SQLSTATE codes pgsluice itself sends, by PostgreSQL's names (its `errcodes.txt`).

/// Five ASCII characters.
pub type SqlState = [u8; 5];

pub const SUCCESSFUL_COMPLETION: SqlState = *b"00000";
pub const WARNING: SqlState = *b"01000";
pub const CONNECTION_FAILURE: SqlState = *b"08006";
/// The server could not be reached.
pub const CANNOT_CONNECT: SqlState = *b"08001";
pub const PROTOCOL_VIOLATION: SqlState = *b"08P01";
pub const FEATURE_NOT_SUPPORTED: SqlState = *b"0A000";
pub const CHARACTER_NOT_IN_REPERTOIRE: SqlState = *b"22021";
pub const INVALID_PARAMETER_VALUE: SqlState = *b"22023";
pub const ACTIVE_SQL_TRANSACTION: SqlState = *b"25001";
pub const IN_FAILED_SQL_TRANSACTION: SqlState = *b"25P02";
pub const IDLE_IN_TRANSACTION_SESSION_TIMEOUT: SqlState = *b"25P03";
pub const TRANSACTION_TIMEOUT: SqlState = *b"25P04";
pub const INVALID_SQL_STATEMENT_NAME: SqlState = *b"26000";
/// No user name given, or the user may not connect.
pub const INVALID_AUTHORIZATION: SqlState = *b"28000";
pub const INVALID_PASSWORD: SqlState = *b"28P01";
pub const INVALID_CURSOR_NAME: SqlState = *b"34000";
pub const INVALID_CATALOG_NAME: SqlState = *b"3D000";
pub const INSUFFICIENT_PRIVILEGE: SqlState = *b"42501";
pub const SYNTAX_ERROR: SqlState = *b"42601";
pub const INVALID_NAME: SqlState = *b"42602";
pub const DUPLICATE_PREPARED_STATEMENT: SqlState = *b"42P05";
pub const UNDEFINED_OBJECT: SqlState = *b"42704";
pub const OUT_OF_MEMORY: SqlState = *b"53200";
pub const TOO_MANY_CONNECTIONS: SqlState = *b"53300";
pub const CONFIGURATION_LIMIT_EXCEEDED: SqlState = *b"53400";
pub const PROGRAM_LIMIT_EXCEEDED: SqlState = *b"54000";
pub const QUERY_CANCELED: SqlState = *b"57014";
pub const ADMIN_SHUTDOWN: SqlState = *b"57P01";
/// Not ready to take connections now; drivers may try again.
pub const CANNOT_CONNECT_NOW: SqlState = *b"57P03";
pub const IDLE_SESSION_TIMEOUT: SqlState = *b"57P05";
pub const SYSTEM_ERROR: SqlState = *b"58000";
pub const INTERNAL_ERROR: SqlState = *b"XX000";
