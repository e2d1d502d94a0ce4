//! Carrying out what is asked of zones.

use anyhow::Context;
use serde_json::{Value, json};

use super::Session;
use crate::arguments::{SetLimits, ZoneVerb};
use crate::output;
use crate::things::ZONE;

impl Session {
    pub(super) async fn zone(&self, verb: ZoneVerb) -> anyhow::Result<()> {
        match verb {
            ZoneVerb::Create(new) => {
                let body = json!({
                    "name": new.name, "vlan_ranges": new.vlans, "vxlan_ranges": new.vxlans,
                });
                self.create(ZONE, body, None).await
            }
            ZoneVerb::List(list) => self.list(ZONE, list).await,
            ZoneVerb::Show(which) => self.print(&ZONE.show(&self.api, &which.which).await?).await,
            ZoneVerb::Delete(delete) => self.delete(ZONE, delete).await,
            ZoneVerb::Ids { which, vlans, vxlans } => {
                let id = ZONE.id(&self.api, &which).await?;
                let body = json!({"vlan_ranges": vlans, "vxlan_ranges": vxlans});
                self.print(&self.api.patch(&ZONE.at(&id), &body).await?).await
            }
            ZoneVerb::Management { which, cidr, ranges, mtu, routes } => {
                let id = ZONE.id(&self.api, &which).await?;
                let route = |route: &String| {
                    let (to, via) =
                        route.split_once('=').with_context(|| format!("--route {route}: must be TO=VIA"))?;
                    anyhow::Ok(json!({"to": to, "via": via}))
                };
                let routes = routes.iter().map(route).collect::<anyhow::Result<Vec<_>>>()?;
                let network = json!({"cidr": cidr, "ranges": ranges, "mtu": mtu, "routes": routes});
                self.print(&self.api.patch(&ZONE.at(&id), &json!({"management": network})).await?).await
            }
            ZoneVerb::Public { which, cidr, gateway, ranges, name_servers, mtu, cidr6, gateway6 } => {
                let id = ZONE.id(&self.api, &which).await?;
                let ipv6 = match (cidr6, gateway6) {
                    (Some(prefix), Some(gateway)) => json!({"prefix": prefix, "gateway": gateway}),
                    _ => self.api.get(&ZONE.at(&id), &[]).await?["public"]["ipv6"].take(),
                };
                let network = json!({
                    "cidr": cidr, "gateway": gateway, "ranges": ranges, "name_servers": name_servers, "mtu": mtu,
                    "ipv6": ipv6,
                });
                self.print(&self.api.patch(&ZONE.at(&id), &json!({"public": network})).await?).await
            }
            ZoneVerb::Routes6 { which, device } => {
                let id = ZONE.id(&self.api, &which).await?;
                let routes = self.api.get(&format!("{}/routes6", ZONE.at(&id)), &[]).await?;
                if self.json {
                    return self.print(&routes).await;
                }
                Ok(output::print(&routes6(&routes, device.as_deref()))?)
            }
            ZoneVerb::SpareHosts { which, hosts } => {
                let id = ZONE.id(&self.api, &which).await?;
                self.print(&self.api.patch(&ZONE.at(&id), &json!({"spare_hosts": hosts})).await?).await
            }
            ZoneVerb::Limit(SetLimits { which, limits }) => self.set(ZONE, &which, "limits", &limits).await,
        }
    }
}

/// Routes a line each, or the commands that set them.
fn routes6(answer: &Value, device: Option<&str>) -> String {
    let routes = answer["routes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |field: &Value| field.as_str().unwrap_or_default().to_owned();
    let line = |route: &Value| match (text(&route["prefix"]), text(&route["via"]), device) {
        (prefix, via, Some(device)) => format!("ip -6 route replace {prefix} via {via} dev {device}\n"),
        (prefix, via, None) => format!("{prefix} via {via}\n"),
    };
    let mut lines: String = routes.iter().map(line).collect();
    let left_out = answer["count"].as_u64().unwrap_or_default().saturating_sub(routes.len() as u64);
    if left_out > 0 {
        lines.push_str(&format!("# and {left_out} more: the next /60 by the next address, as these\n"));
    }
    lines
}
