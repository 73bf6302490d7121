// Builds elements. Data only ever becomes text nodes: no string from a task, agent or framework is parsed as HTML.

/** `h('td', { class: 'id', title: id }, 'text', child…)`; children that are null or false are left out. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? '' : String(value));
  }
  append(element, children);
  return element;
}

export function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

/** Puts `children` in the place of what `element` holds. */
export function fill(element, ...children) {
  element.replaceChildren();
  append(element, children);
}

/** A bar of shares (0…1), each with its class. The widths are set through the CSSOM, which the page's policy allows. */
export function bar(label, ...parts) {
  const track = h('div', { class: 'bar', role: 'img', 'aria-label': label, title: label });
  for (const [kind, share] of parts) {
    const piece = h('i', { class: kind });
    piece.style.width = `${Math.max(0, Math.min(1, share || 0)) * 100}%`;
    track.append(piece);
  }
  return track;
}
