//! The parts of `envoy/docker-compose.yaml` that are not Envoy.
//!
//! ```text
//! compose stand-in CONFIG DIR   Genesys Cloud on port 443; fits CONFIG to its certificates and leaves all files in DIR
//! compose service [PORT]        the service behind Envoy, on port 8080 if no other is given
//! compose client DIR HOST:PORT  one request per caller; prints a table, fails if a caller got the wrong answer
//! compose healthy HOST:PORT     whether that port listens
//! ```

mod addresses;
mod callers;
mod stand_in;

use std::{
    env,
    io::{Error, Result},
    path::Path,
    process::ExitCode,
};

use addresses::everywhere;
use testbed::Upstream;
use tokio::net::TcpStream;

const SERVICE_PORT: u16 = 8080;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        ["stand-in", config, dir] => stand_in::run(Path::new(config), Path::new(dir)).await,
        ["service"] => service(SERVICE_PORT).await,
        ["service", port] => match port.parse() {
            Ok(port) => service(port).await,
            Err(_) => Err(Error::other("the port is no number")),
        },
        ["client", dir, envoy] => callers::visit(Path::new(dir), envoy).await,
        ["healthy", addr] => TcpStream::connect(*addr).await.map(drop),
        _ => Err(Error::other(
            "compose stand-in CONFIG DIR | service [PORT] | client DIR HOST:PORT | healthy HOST:PORT",
        )),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compose {}: {error}", arguments.join(" "));
            ExitCode::FAILURE
        }
    }
}

async fn service(port: u16) -> Result<()> {
    let _service = Upstream::start_at(everywhere(port)).await?;
    std::future::pending().await
}
