//! Where a PostgreSQL database is, and how it is talked to.
//!
//! The password comes from elsewhere and is never shown. There is no TLS here: what leaves this machine must be said to
//! be safe, or be carried by a tunnel that ends on it.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use postgres::Config;
use postgres::config::{Host, SslMode};

/// How long a server may take to answer the first time.
const CONNECT_S: u64 = 10;

/// A database, with the password if one is needed.
#[derive(Clone)]
pub struct PostgresAddress {
    config: Config,
    shown: String,
}

impl PostgresAddress {
    /// Reads `postgresql://user@host:port/database?…`; the password comes apart, so that no setting shows it.
    ///
    /// # Errors
    /// One sentence for people: what is wrong with it and what to write instead.
    pub fn parse(url: &str, password: Option<&str>) -> Result<Self, String> {
        let mut config: Config = url
            .parse()
            .map_err(|error| format!("it is no address of a PostgreSQL database ({error})"))?;
        if config.get_password().is_some() {
            return Err(
                "it holds a password, which every list of settings would show; put it into the file that \
                 `store_password_file` names or into the variable `HANOK_STORE_PASSWORD`"
                    .to_owned(),
            );
        }
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(
                "it names no server: `postgresql://user@host/database`, or `…?host=/run/postgresql` for a \
                        socket of this machine"
                    .to_owned(),
            );
        }
        let leaves = config.get_hosts().iter().any(leaves_the_machine)
            || config
                .get_hostaddrs()
                .iter()
                .any(|address| !address.is_loopback());
        match config.get_ssl_mode() {
            SslMode::Disable => {}
            SslMode::Prefer if !leaves => {
                config.ssl_mode(SslMode::Disable);
            }
            _ => {
                return Err(
                    "connections are not encrypted by this program: reach the server over a socket of this machine, a \
                     tunnel (ssh, stunnel) to it or a proxy on it; where the network between the two is trusted, add \
                     `sslmode=disable` to the address"
                        .to_owned(),
                );
            }
        }
        let shown = shown(&config);
        if let Some(password) = password {
            config.password(password);
        }
        config
            .application_name("hanok")
            .connect_timeout(Duration::from_secs(CONNECT_S))
            .keepalives_idle(Duration::from_secs(30));
        Ok(Self { config, shown })
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Server and database, for people.
    pub fn shown(&self) -> &str {
        &self.shown
    }
}

impl fmt::Debug for PostgresAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.shown)
    }
}

fn leaves_the_machine(host: &Host) -> bool {
    match host {
        Host::Tcp(name) if name == "localhost" => false,
        Host::Tcp(name) => name
            .parse::<IpAddr>()
            .map_or(true, |address| !address.is_loopback()),
        Host::Unix(_) => false,
    }
}

fn shown(config: &Config) -> String {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(name)) => name.clone(),
        Some(Host::Unix(path)) => path.display().to_string(),
        None => config
            .get_hostaddrs()
            .first()
            .map(ToString::to_string)
            .unwrap_or_default(),
    };
    let port = config.get_ports().first().map(|port| format!(":{port}"));
    let database = config.get_dbname().or(config.get_user()).unwrap_or_default();
    format!("{host}{}/{database}", port.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_stands_in_an_address_and_none_is_shown() {
        let refused = PostgresAddress::parse("postgresql://me:secret@localhost/house", None).unwrap_err();
        assert!(refused.contains("store_password_file") && !refused.contains("secret"));
        let address = PostgresAddress::parse("postgresql://me@localhost:5433/house", Some("secret")).unwrap();
        assert_eq!(format!("{address:?}"), "localhost:5433/house");
        assert_eq!(address.config().get_password(), Some(b"secret".as_slice()));
    }

    #[test]
    fn what_leaves_the_machine_unencrypted_must_be_said_to_be_safe() {
        for refused in [
            "postgresql://me@db.example/house",
            "postgresql://me@10.0.0.7/house",
            "postgresql://me@db.example/house?sslmode=require",
            "postgresql://me@localhost/house?sslmode=require",
            "postgresql:///house?user=me",
            "mysql://me@localhost/house",
        ] {
            assert!(PostgresAddress::parse(refused, None).is_err(), "{refused}");
        }
        for taken in [
            "postgresql://me@127.0.0.1/house",
            "postgresql://me@[::1]/house",
            "postgresql:///house?host=/run/postgresql&user=me",
            "postgresql://me@db.example/house?sslmode=disable",
        ] {
            assert!(PostgresAddress::parse(taken, None).is_ok(), "{taken}");
        }
    }
}
