//! The program `podzol-mgmt` as a process of its own.

mod console;
mod full_disk;
mod health;
mod one_service;
mod service;
