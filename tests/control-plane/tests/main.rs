//! The management service, with real agents on simulated servers, as its users and operators see it.

mod consoles;
mod create_bodies;
mod doctor;
mod exhaustion;
mod generations;
mod iso;
mod joining;
mod lifecycle;
mod limits;
mod metrics;
mod migration;
mod once_and_pages;
mod openapi;
mod operations;
mod parallel;
mod placement;
mod pools;
mod recover;
mod restarts;
mod routers;
mod rules;
mod scoping;
mod templates;
mod vm_bodies;
mod volumes;
mod vxlan;
