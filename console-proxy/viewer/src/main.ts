/** The page: puts its parts together. What each does is told in its module. */

import type { InputEvent } from './input/event.ts';
import { Sender } from './input/sender.ts';
import { Choice, WAYS, wayOf } from './line/choice.ts';
import { start } from './line/place.ts';
import type { Opened, State } from './line/protocol.ts';
import { Session } from './line/session.ts';
import type { Phase } from './line/session.ts';
import { by, button, placeMenus } from './page/dom.ts';
import { Keys } from './page/keys.ts';
import { Looking } from './page/looking.ts';
import { OnScreen } from './page/onscreen.ts';
import { Paste } from './page/paste.ts';
import { set, setting } from './page/settings.ts';
import { Stage } from './page/stage.ts';
import { Status } from './page/status.ts';
import { fullScreen, tabs } from './page/window.ts';
import { Picture } from './picture/picture.ts';
import { CanvasSurface } from './picture/surface.ts';
import { Pointer } from './pointer/pointer.ts';
import { SerialTab } from './serial/tab.ts';

const stage = new Stage();
const picture = new Picture(new CanvasSurface(stage.canvas), {
  resized: (grid) => stage.resized(grid),
  cursor: (cursor) => stage.cursor(cursor),
});

let opened: Opened | undefined;
let state: State | undefined;
let phase: Phase = { is: 'opening' };

const sender = new Sender(
  () => opened?.limits.batch_bytes ?? 65_536,
  () => picture.number,
);
const held = { keys: false, buttons: false };
const hold = (what: 'keys' | 'buttons') => (down: boolean) => {
  held[what] = down;
  sender.hold(held.keys || held.buttons);
};

const mayControl = (): boolean => state?.rights === 'control' && (phase.is === 'on' || phase.is === 'away');
const active = (): boolean => mayControl() && !looking.only;
const focus = (): void => stage.canvas.focus({ preventScroll: true });
const send = (event: InputEvent): void => {
  if (mayControl()) sender.push(event);
};

const looking = new Looking(() => {
  if (looking.only) send({ kind: 'release' });
  forgetHeld();
});
const keys = new Keys({ canvas: stage.canvas, active, leds: () => state?.leds ?? null, send, held: hold('keys') });
const pointer = new Pointer({
  canvas: stage.canvas,
  active,
  relative: () => state?.pointer === 'relative',
  desktop: () => stage.size,
  send,
  held: hold('buttons'),
  touched: () => document.querySelector('header')?.classList.remove('shown'),
});
const kind = (): State['keys'] => state?.keys ?? 'scancodes';
new Paste({
  keys: kind,
  caps: () => state?.leds?.caps ?? false,
  pressCaps: () => keys.tap('CapsLock'),
  send,
  waiting: () => sender.waiting,
  clipboard: (text) => send({ kind: 'clipboard', text }),
  clipboardBytes: () => opened?.limits.clipboard_bytes ?? 0,
  done: focus,
});
new OnScreen({ keys, kind, send });

const status = new Status({ again: () => session.again(), here: () => sender.here() });
setInterval(() => status.waiting(sender.waiting), 500);

const forced = wayOf(new URLSearchParams(location.search).get('transport'));
const known = wayOf(setting('way', [...WAYS, 'none'], 'none'));
const choice = new Choice(forced, known);
const session = new Session(start(location), choice, picture, sender, {
  phase: (now) => {
    phase = now;
    status.phase(now);
    if (now.is === 'over' || now.is === 'moving') forgetHeld();
    if (now.is === 'over') serial.stop();
  },
  opened: (now) => {
    opened = now;
    forgetHeld();
    document.title = `${now.vm.name} – Console`;
    by('name', HTMLElement).textContent = now.vm.name;
    by('name', HTMLElement).title = now.vm.name;
    serial.opened(now);
    if (document.activeElement === document.body) focus();
  },
  state: (now) => {
    const before = state;
    state = now;
    status.state(now);
    serial.state(now.serial, now.rights);
    showSerial(now.serial !== 'none');
    document.body.classList.toggle('view-only', now.rights === 'view');
    button('copy').hidden = now.clipboard.number === 0;
    if (before && now.bells !== before.bells) ring();
    if (now.pointer === 'absolute' && document.pointerLockElement) document.exitPointerLock();
    if (now.rights === 'view') forgetHeld();
  },
  way: (way) => {
    set('way', way);
    status.way(way);
    serial.way();
  },
  took: (milliseconds) => status.took(milliseconds),
  go: (url) => location.replace(url),
});
const serial = new SerialTab(() => choice.way);
const showSerial = tabs(() => serial.show(), focus);
fullScreen(focus);
placeMenus();

/** Keys and buttons that were down are not any more. */
function forgetHeld(): void {
  keys.forget();
  pointer.forget();
}

/** A bell of the VM is seen, as a page may not be heard. */
function ring(): void {
  const title = document.title;
  document.title = `🔔 ${title}`;
  setTimeout(() => (document.title = title), 1000);
}

button('screenshot').addEventListener('click', () => {
  const time = new Date().toISOString().slice(0, 19).replaceAll(':', '-');
  stage.screenshot(`${opened?.vm.name ?? 'console'}-${time}`);
});
button('copy').addEventListener('click', () => {
  const text = session.path ? fetch(`${session.path}/clipboard`).then((answer) => (answer.ok ? answer.text() : '')) : Promise.resolve('');
  // Browsers want to know at the click that something will be copied.
  const item = new ClipboardItem({ 'text/plain': text.then((copied) => new Blob([copied], { type: 'text/plain' })) });
  void navigator.clipboard.write([item]).catch((error: unknown) => console.warn(error));
});
document.addEventListener('visibilitychange', () => sender.hide(document.hidden));
addEventListener('pagehide', () => session.leave());
addEventListener('pageshow', ({ persisted }) => {
  // It comes out of the browser's memory after it has left.
  if (persisted) location.reload();
});
// A new link in the same tab.
addEventListener('hashchange', () => {
  if (location.hash.length > 1) location.reload();
});

sender.hide(document.hidden);
void session.run();
