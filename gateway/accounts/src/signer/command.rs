//! Starting a signer command, and hearing it out.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD};
use natsgate_claims::Unsigned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::timeout;

use super::{LastWords, SignerError, check_operator};

/// The most bytes an answer may have: many times a signature or a key.
const MAX_ANSWER: u64 = 4096;

/// How much of what a command says on its standard error is kept, in bytes.
const LAST_WORDS: usize = 1000;

/// Bytes of a signature.
const SIGNATURE: usize = 64;

/// A command that signs.
#[derive(Debug, Clone)]
pub struct SignerCommand {
    program: String,
    args: Vec<String>,
    public_key: String,
    limit: Duration,
}

/// What a command answered, and said besides.
struct Answer {
    text: String,
    stderr: LastWords,
}

impl SignerCommand {
    /// `program` with `args`, which signs with the operator key whose public half is `public_key`, within `limit`.
    ///
    /// # Errors
    /// [`SignerError::Key`] if `public_key` is no operator's.
    pub fn new(
        program: impl Into<String>,
        args: Vec<String>,
        public_key: impl Into<String>,
        limit: Duration,
    ) -> Result<Self, SignerError> {
        let public_key = public_key.into();
        check_operator(&public_key)?;
        Ok(Self {
            program: program.into(),
            args,
            public_key,
            limit,
        })
    }

    /// As [`Self::new`], where the program says its public key itself when it is started with `public_key_args`.
    ///
    /// # Errors
    /// [`SignerError`]: it does not start, takes too long, fails, or answers something else.
    pub async fn learn(
        program: impl Into<String>,
        args: Vec<String>,
        public_key_args: &[String],
        limit: Duration,
    ) -> Result<Self, SignerError> {
        let program = program.into();
        let Answer { text, stderr } = run(&program, public_key_args, "", limit).await?;
        Self::new(&program, args, text, limit).map_err(|_| SignerError::Answer {
            program,
            expected: "an operator's public key (O…)",
            stderr,
        })
    }

    /// The public key it signs with.
    pub fn public_key(&self) -> &str {
        &self.public_key
    }

    pub(super) async fn sign(&self, unsigned: Unsigned) -> Result<String, SignerError> {
        let input = BASE64.encode(unsigned.signing_input());
        let Answer { text, stderr } = run(&self.program, &self.args, &input, self.limit).await?;
        let Some(signature) = decode(&text) else {
            return Err(SignerError::Answer {
                program: self.program.clone(),
                expected: "an Ed25519 signature, 64 bytes in base64",
                stderr,
            });
        };
        unsigned.attach(&signature).map_err(|_| SignerError::NotTheirs {
            program: self.program.clone(),
            public_key: self.public_key.clone(),
            stderr,
        })
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    [BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD]
        .into_iter()
        .filter_map(|encoding| encoding.decode(text.as_bytes()).ok())
        .find(|bytes| bytes.len() == SIGNATURE)
}

/// Starts `program` with `input` on one line, and gives its answer without the white space around it.
async fn run(program: &str, args: &[String], input: &str, limit: Duration) -> Result<Answer, SignerError> {
    let failed = |cause| SignerError::Io {
        program: program.to_owned(),
        cause,
    };
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|cause| SignerError::Start {
            program: program.to_owned(),
            cause,
        })?;
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else {
        return Err(failed(io::Error::other("it has no standard streams")));
    };
    let mut tail = Vec::new();
    let mut answer = Vec::new();
    let conversation = async {
        let writing = async move {
            let line = format!("{input}\n");
            match stdin.write_all(line.as_bytes()).await {
                // It need not hear everything: its answer is verified.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                other => other,
            }
        };
        let reading = async {
            let mut bounded = stdout.take(MAX_ANSWER.saturating_add(1));
            bounded.read_to_end(&mut answer).await?;
            if bounded.limit() == 0 {
                return Err(io::Error::other("its answer has more than 4096 bytes"));
            }
            Ok(())
        };
        tokio::try_join!(writing, reading, keep_tail(stderr, &mut tail))?;
        child.wait().await
    };
    let ended = timeout(limit, conversation).await;
    let stderr = last_words(&tail);
    let status = match ended {
        Ok(status) => status.map_err(failed)?,
        Err(_) => {
            return Err(SignerError::TimedOut {
                program: program.to_owned(),
                limit,
                stderr,
            });
        }
    };
    if !status.success() {
        return Err(SignerError::Failed {
            program: program.to_owned(),
            status,
            stderr,
        });
    }
    // What is no text decodes to nothing.
    let text = String::from_utf8_lossy(&answer).trim().to_owned();
    Ok(Answer { text, stderr })
}

/// Reads `from` to its end and keeps the last of it in `tail`.
async fn keep_tail(mut from: impl AsyncRead + Unpin, tail: &mut Vec<u8>) -> io::Result<()> {
    let mut chunk = Vec::with_capacity(LAST_WORDS);
    loop {
        chunk.clear();
        if from.read_buf(&mut chunk).await? == 0 {
            return Ok(());
        }
        tail.extend_from_slice(&chunk);
        let excess = tail.len().saturating_sub(LAST_WORDS);
        tail.drain(..excess);
    }
}

/// On one line, and without what a terminal or a log might act on.
fn last_words(tail: &[u8]) -> LastWords {
    let text = String::from_utf8_lossy(tail);
    let plain = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    LastWords(plain.collect())
}
