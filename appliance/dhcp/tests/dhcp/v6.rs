//! DHCP for IPv6: what clients send, what the table answers, and what hostile packets get.

mod golden;
mod hostile;
mod messages;
mod packet;
