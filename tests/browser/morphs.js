// What scripts do to a page in place of loading it anew. Each takes an element and the server's HTML of it.
(() => {
  const parsed = (html) => new DOMParser().parseFromString(html, "text/html").body.firstElementChild;

  function syncAttributes(old, wanted) {
    for (const { name } of [...old.attributes]) if (!wanted.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of wanted.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }

  /** As idiomorph: nodes of a kind are kept and made equal, attributes before children. */
  function morph(old, wanted) {
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== wanted.nodeValue) old.nodeValue = wanted.nodeValue;
      return;
    }
    syncAttributes(old, wanted);
    morphChildren(old, wanted);
  }

  function morphChildren(old, wanted) {
    const alike = (one, other) => one && one.nodeType === other.nodeType && one.nodeName === other.nodeName;
    [...wanted.childNodes].forEach((child, index) => {
      const present = old.childNodes[index];
      if (alike(present, child)) morph(present, child);
      else old.insertBefore(child.cloneNode(true), present ?? null);
    });
    while (old.childNodes.length > wanted.childNodes.length) old.lastChild.remove();
  }

  window.morphs = {
    element: (element, html) => morph(element, parsed(html)),
    children: (element, html) => morphChildren(element, parsed(html)),
    attributes: (element, html) => syncAttributes(element, parsed(html)),
    innerHTML: (element, html) => (element.innerHTML = parsed(html).innerHTML),
    swap: (element, html) => element.replaceWith(document.importNode(parsed(html), true)),
  };
})();
