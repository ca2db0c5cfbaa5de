// An offer as the focus makes it, for tests.

import { parse } from '../src/xmpp/xml';

const TRANSPORT = `<transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' ufrag='bu' pwd='bridge-password-22chars'>
  <rtcp-mux/><fingerprint xmlns='urn:xmpp:jingle:apps:dtls:0' hash='sha-256' setup='actpass'>AA:BB</fingerprint>
  <candidate component='1' foundation='1' generation='0' id='c1' ip='203.0.113.5' network='0' port='10000'
    priority='2130706431' protocol='udp' type='host'/>`;

export function offerElement({ data = true, own = true, muted = false } = {}): Element {
  const ownSource = (kind: string, ssrc: number) =>
    own
      ? `<source xmlns='urn:xmpp:jingle:apps:rtp:ssma:0' ssrc='${ssrc}' name='jvb-${kind[0]}0'>
          <parameter name='msid' value='mixedmslabel mixedlabel${kind}0'/>
          <ssrc-info xmlns='http://jitsi.org/jitmeet' owner='jvb'/></source>`
      : '';
  const xml = `<jingle xmlns='urn:xmpp:jingle:1' action='session-initiate' initiator='town@muc.x/focus' sid='sid1'>
    <content creator='initiator' name='audio' senders='both'>
      <description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio' maxptime='60'>
        <rtp-hdrext xmlns='urn:xmpp:jingle:apps:rtp:rtp-hdrext:0' id='1' uri='urn:ietf:params:rtp-hdrext:ssrc-audio-level'/>
        <extmap-allow-mixed xmlns='urn:xmpp:jingle:apps:rtp:rtp-hdrext:0'/>
        <payload-type id='111' name='opus' clockrate='48000' channels='2'>
          <parameter name='minptime' value='10'/><parameter name='useinbandfec' value='1'/>
          <rtcp-fb xmlns='urn:xmpp:jingle:apps:rtp:rtcp-fb:0' type='transport-cc'/></payload-type>
        ${ownSource('audio', 100)}
      </description>${TRANSPORT}</transport>
    </content>
    <content creator='initiator' name='video' senders='both'>
      <description xmlns='urn:xmpp:jingle:apps:rtp:1' media='video'>
        <payload-type id='41' name='AV1' clockrate='90000'/>
        <payload-type id='100' name='VP8' clockrate='90000'>
          <rtcp-fb xmlns='urn:xmpp:jingle:apps:rtp:rtcp-fb:0' type='ccm' subtype='fir'/></payload-type>
        <payload-type id='107' name='H264' clockrate='90000'>
          <parameter name='profile-level-id' value='42e01f;level-asymmetry-allowed=1;packetization-mode=1;'/></payload-type>
        <payload-type id='96' name='rtx' clockrate='90000'><parameter name='apt' value='100'/></payload-type>
        <payload-type id='97' name='rtx' clockrate='90000'><parameter name='apt' value='41'/></payload-type>
        ${ownSource('video', 200)}
      </description>${TRANSPORT}</transport>
    </content>
    ${data ? `<content creator='initiator' name='data' senders='both'><description xmlns='urn:xmpp:jingle:apps:rtp:1' media='application'/>
      ${TRANSPORT}<sctpmap xmlns='urn:xmpp:jingle:transports:dtls-sctp:1' number='5000' protocol='webrtc-datachannel' streams='1024'/></transport></content>` : ''}
    <group xmlns='urn:xmpp:jingle:apps:grouping:0' semantics='BUNDLE'><content name='audio'/><content name='video'/></group>
    ${muted ? `<startmuted xmlns='http://jitsi.org/jitmeet/start-muted' audio='true' video='false'/>` : ''}
    <bridge-session xmlns='http://jitsi.org/protocol/focus' id='bs1' region='eu'/>
  </jingle>`;
  return parse(xml)!;
}
