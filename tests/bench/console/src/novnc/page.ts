/** A page with noVNC as it is out of its box. */

import RFB from '@novnc/novnc';

const target = document.querySelector<HTMLElement>('#screen');
if (target) {
  const rfb = new RFB(target, `wss://${location.host}/websockify`, { shared: true });
  rfb.addEventListener('connect', () => {
    document.body.dataset['phase'] = 'on';
    rfb.focus();
  });
}
