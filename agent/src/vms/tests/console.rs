//! Streams to the consoles of VMs.

use podzol_vocab::ErrorCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use super::*;
use crate::vms::console::carry;

#[tokio::test]
async fn a_display_is_reached_through_its_socket_and_a_vm_without_one_has_none() {
    let (folder, vms) = host().await;
    let vm = example().vm;
    assert_eq!(vms.display(vm).await.unwrap_err().code, ErrorCode::NotFound);
    let path = folder.path().join("vnc.sock");
    *vms.platform().hypervisor.display.lock().unwrap() = Some(path.clone());
    assert_eq!(vms.display(vm).await.unwrap_err().code, ErrorCode::Unavailable);

    let listener = UnixListener::bind(path).unwrap();
    let to = vms.display(vm).await.unwrap();
    let (mut display, _) = listener.accept().await.unwrap();
    let (mut proxy, stream) = tokio::io::duplex(100);
    let carrying = tokio::spawn(carry(Box::new(stream), to));
    display.write_all(b"RFB 003.008\n").await.unwrap();
    let mut greeting = [0; 12];
    proxy.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"RFB 003.008\n");
    drop(display);
    assert_eq!(proxy.read(&mut greeting).await.unwrap(), 0);
    drop(proxy);
    carrying.await.unwrap();
}

#[tokio::test]
async fn a_serial_port_goes_to_whoever_asks_last() {
    let (_folder, vms) = host().await;
    let vm = example().vm;
    assert_eq!(vms.serial(vm).await.unwrap_err().code, ErrorCode::NotFound);
    vms.platform().hypervisor.has(vm, Ok(Record::of(&example())));
    let path = vms.files().serial_socket(vm);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let listener = UnixListener::bind(path).unwrap();
    let (mut first, stream) = tokio::io::duplex(100);
    let carrying = tokio::spawn(carry(Box::new(stream), vms.serial(vm).await.unwrap()));
    let (_port, _) = listener.accept().await.unwrap();
    let second = vms.serial(vm).await.unwrap();
    carrying.await.unwrap();
    assert_eq!(first.read(&mut [0; 1]).await.unwrap(), 0);
    let (mut proxy, stream) = tokio::io::duplex(100);
    tokio::spawn(carry(Box::new(stream), second));
    let (mut port, _) = listener.accept().await.unwrap();
    proxy.write_all(b"x").await.unwrap();
    assert_eq!(port.read_u8().await.unwrap(), b'x');
}
