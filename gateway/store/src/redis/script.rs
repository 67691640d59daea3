//! A Lua script and its name.

/// A Lua script that Redis runs in one atomic step. Made once, invoked by [`super::RedisConnection::script`].
#[derive(Debug)]
pub struct Script {
    code: &'static str,
    sha1: String,
    only_reads: bool,
}

impl Script {
    /// The script of this `code`.
    pub fn new(code: &'static str) -> Self {
        Self {
            code,
            sha1: redis::Script::new(code).get_hash().to_owned(),
            only_reads: false,
        }
    }

    /// A script that only reads, and may be run by users who may only read its keys (EVAL_RO, Redis 7.0).
    pub fn reading(code: &'static str) -> Self {
        Self {
            only_reads: true,
            ..Self::new(code)
        }
    }

    /// The command that runs it: by its name, or, for a server that does not know it yet, by its text, which the server
    /// then remembers.
    pub(super) fn invocation(&self, by_name: bool, keys: &[&str], args: &[&[u8]]) -> redis::Cmd {
        let (command, script) = match (by_name, self.only_reads) {
            (true, false) => ("EVALSHA", self.sha1.as_str()),
            (true, true) => ("EVALSHA_RO", self.sha1.as_str()),
            (false, false) => ("EVAL", self.code),
            (false, true) => ("EVAL_RO", self.code),
        };
        let mut invocation = redis::cmd(command);
        invocation.arg(script).arg(keys.len());
        for key in keys {
            invocation.arg(*key);
        }
        for arg in args {
            invocation.arg(*arg);
        }
        invocation
    }
}
