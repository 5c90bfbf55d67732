// Makes and uses passkeys: a button with data-passkey="make|sign-in|prove" begins the ceremony with the server.
"use strict";
(() => {
  const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (char) => char.charCodeAt(0));
  const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const places = {
    make: ["/api/v1/account/passkeys/begin", "/api/v1/account/passkeys"],
    "sign-in": ["/sign-in/passkey/begin", "/sign-in/passkey"],
    prove: ["/api/v1/account/prove/passkey/begin", "/api/v1/account/prove/passkey"],
  };
  const send = async (place, body) => {
    const answer = await fetch(place, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    const found = await answer.json();
    if (found.code === "proof_needed") location.assign("/account/prove");
    if (!answer.ok) throw new Error(`${found.detail} ${found.fix || ""}`);
    return found;
  };
  // A word on a request is signed at the request's own address; the challenge is what is signed.
  const ceremony = async (kind, name, { request, verdict }) => {
    const word = `/api/v1/labels/requests/${request}/passkey`;
    const [begin, end] = kind === "word" ? [`${word}/begin`, word] : places[kind];
    const { flow, options } = await send(begin, kind === "word" ? { verdict } : {});
    options.challenge = bytes(options.challenge);
    for (const one of options.excludeCredentials || options.allowCredentials || []) one.id = bytes(one.id);
    let made;
    if (kind === "make") {
      options.user.id = bytes(options.user.id);
      made = await navigator.credentials.create({ publicKey: options });
    } else {
      made = await navigator.credentials.get({ publicKey: options });
    }
    const given = made.response;
    const response = { clientDataJSON: text(given.clientDataJSON) };
    for (const part of ["attestationObject", "authenticatorData", "signature", "userHandle"]) if (given[part]) response[part] = text(given[part]);
    const credential = { id: made.id, rawId: text(made.rawId), type: made.type, response, clientExtensionResults: {} };
    return send(end, kind === "word" ? { flow, verdict, credential } : { flow, name, credential });
  };
  for (const button of document.querySelectorAll("[data-passkey]")) {
    if (!window.PublicKeyCredential) continue;
    button.hidden = false;
    button.addEventListener("click", async () => {
      const said = document.getElementById("passkey-said");
      said.textContent = "";
      button.disabled = true;
      try {
        const named = document.getElementById("passkey-name");
        const found = await ceremony(button.dataset.passkey, named ? named.value : "", button.dataset);
        location.assign(found.next || "/account");
      } catch (error) {
        said.textContent = error.message;
        button.disabled = false;
      }
    });
  }
})();
