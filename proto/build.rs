//! Compiles `natsgate/v1/*.proto` with protox, in Rust: no `protoc` is needed to build.

use std::error::Error;
use std::path::PathBuf;

use protox::prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=natsgate");
    let descriptors = protox::compile(
        [
            "natsgate/v1/account.proto",
            "natsgate/v1/decision.proto",
            "natsgate/v1/link.proto",
            "natsgate/v1/membership.proto",
            "natsgate/v1/revocation.proto",
            "natsgate/v1/session.proto",
        ],
        ["."],
    )?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo did not set OUT_DIR")?);
    // Served by gRPC reflection.
    std::fs::write(out.join("natsgate.v1.bin"), descriptors.encode_to_vec())?;
    // ConnectOptions holds credentials: src/credentials.rs has a Debug for it that does not show them.
    tonic_prost_build::configure()
        .skip_debug(["natsgate.v1.ConnectOptions"])
        .compile_fds(descriptors)?;
    Ok(())
}
