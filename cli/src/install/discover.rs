//! `mezzo install discover`: the file that the services read.

use std::{
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    net::IpAddr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::{
    args::{Advertise, CloudName, Discover, Place},
    clouds::{self, Found},
    metadata::Service,
};

const PAUSE: Duration = Duration::from_secs(1);

/// Asks, and writes.
pub(crate) async fn run(options: &Discover) -> Result<()> {
    let found = ask(&options.place, Duration::from_secs(options.patience)).await?;
    let text = environment(&options.place, &found);
    match &options.output {
        None => io::stdout().write_all(text.as_bytes())?,
        Some(path) => {
            replace(path, &text).with_context(|| format!("cannot write {}", path.display()))?;
            println!("{}", summary(&options.place, &found));
        }
    }
    Ok(())
}

async fn ask(place: &Place, patience: Duration) -> Result<Found> {
    let service = Service::at(&place.endpoint);
    let start = Instant::now();
    loop {
        let problem = match clouds::ask(&service, place.cloud).await {
            Ok(found) => return Ok(found),
            Err(problem) => problem,
        };
        if start.elapsed() + PAUSE >= patience {
            if place.cloud == CloudName::Auto {
                eprintln!("mezzo: no cloud's metadata service answers ({problem}): only flags are used");
                return Ok(Found::default());
            }
            bail!("the metadata service of {} does not answer: {problem}", place.cloud.name());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What is published of what was found.
struct Published {
    ip: Option<IpAddr>,
    hostname: Option<String>,
    region: Option<String>,
    zone: Option<String>,
}

fn published(place: &Place, found: &Found) -> Published {
    let (ip, hostname) = match place.advertise {
        Advertise::Private => (found.private_ip, found.hostname.clone()),
        // Its name outside may change with each boot, and an agent's host name must not.
        Advertise::Public => (found.public_ip, None),
        Advertise::None => (None, None),
    };
    let region = place.region.clone().or_else(|| found.region.clone());
    let zone = place.zone.clone().or_else(|| found.zone.clone());
    // Half a domain is none: OpenStack's service tells no region, it has to be given.
    match (region, zone) {
        (Some(region), Some(zone)) => Published { ip, hostname, region: Some(region), zone: Some(zone) },
        _ => Published { ip, hostname, region: None, zone: None },
    }
}

fn environment(place: &Place, found: &Found) -> String {
    let Published { ip, hostname, region, zone } = published(place, found);
    let mut text = format!(
        "# What mezzo install discover found (cloud: {}); flags, environment and configuration file go before.\n",
        found.cloud.unwrap_or("none")
    );
    let values =
        [("ADVERTISE_IP", ip.map(|ip| ip.to_string())), ("HOSTNAME", hostname), ("REGION", region), ("ZONE", zone)];
    for (name, value) in values {
        if let Some(value) = value {
            let _ = writeln!(text, "MEZZO_DISCOVERED_{name}={value}"); // a String takes everything
        }
    }
    text
}

fn summary(place: &Place, found: &Found) -> String {
    let Published { ip, hostname, region, zone } = published(place, found);
    let mut text = format!("cloud: {}", found.cloud.unwrap_or("none"));
    let values =
        [("address", ip.map(|ip| ip.to_string())), ("host name", hostname), ("region", region), ("zone", zone)];
    for (name, value) in values {
        let _ = write!(text, ", {name}: {}", value.as_deref().unwrap_or("-"));
    }
    if place.advertise == Advertise::Public && found.cloud.is_some() && found.public_ip.is_none() {
        text.push_str("; the cloud knows no public address of this machine: forward a port, and set advertise_ip and advertise_port");
    }
    text
}

/// At once, or not at all.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let aside = path.with_extension("new");
    fs::write(&aside, text)?;
    fs::rename(&aside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(advertise: Advertise, region: Option<&str>) -> Place {
        Place {
            cloud: CloudName::Auto,
            advertise,
            region: region.map(str::to_owned),
            zone: None,
            endpoint: String::new(),
        }
    }

    fn found() -> Found {
        Found {
            cloud: Some("ec2"),
            private_ip: "10.0.0.7".parse().ok(),
            public_ip: "203.0.113.7".parse().ok(),
            hostname: Some("ip-10-0-0-7.internal".to_owned()),
            region: None,
            zone: Some("a".to_owned()),
        }
    }

    #[test]
    fn publishes_the_address_that_is_wanted() {
        let private = environment(&place(Advertise::Private, Some("eu")), &found());
        assert!(
            private
                .contains("MEZZO_DISCOVERED_ADVERTISE_IP=10.0.0.7\nMEZZO_DISCOVERED_HOSTNAME=ip-10-0-0-7.internal\n")
        );
        assert!(private.ends_with("MEZZO_DISCOVERED_REGION=eu\nMEZZO_DISCOVERED_ZONE=a\n"), "{private}");
        let public = environment(&place(Advertise::Public, None), &found());
        assert!(public.contains("ADVERTISE_IP=203.0.113.7\n"), "{public}");
        assert!(!public.contains("HOSTNAME") && !public.contains("ZONE"), "half a domain is none: {public}");
        let none = environment(&place(Advertise::None, None), &found());
        assert_eq!(none.lines().count(), 1);
        let hidden = Found { public_ip: None, ..found() };
        assert!(summary(&place(Advertise::Public, None), &hidden).contains("forward a port"));
    }
}
